"""Agents that follow the policy gradient: PPO, A2C and A3C as one learner, and REINFORCE."""
