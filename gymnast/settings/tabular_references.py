"""References of agents with tables, of planning and of bandits."""

from __future__ import annotations

from gymnast.settings.reference import OPTIMUM, SHORTEST, Reference

ONE_EVALUATION = {"eval_every": 0}
"""Chance decides which of several evaluations of policies that are equally good is the best."""
MAZE = {"gamma": 0.95, "planning_steps": 5, "steps": 5_000}
"""Sutton & Barto 2018, figure 8.2."""

TABULAR: dict[str, Reference] = {
    **{
        f"{agent}-taxi": Reference(
            "the exact optimum in a table",
            agent,
            "Taxi-v4",
            7.93,
            OPTIMUM,
            presets=("taxi",),
            options=ONE_EVALUATION,
            episodes=1_000,
        )
        for agent in ("q-learning", "expected-sarsa")
    },
    "q-learning-cliffwalking": Reference(
        "along the cliff", "q-learning", "CliffWalking-v1", -13.0, OPTIMUM, presets=("cliffwalking",), episodes=10
    ),
    "sarsa-cliffwalking": Reference(
        "the safe path, as far from the cliff as there is",
        "sarsa",
        "CliffWalking-v1",
        -17.0,
        "safe path, Sutton & Barto 2018",
        presets=("cliffwalking",),
        episodes=10,
    ),
    "double-q-learning-frozenlake": Reference(
        "chance of success on slippery ice",
        "double-q-learning",
        "FrozenLake-v1",
        0.7402,
        OPTIMUM,
        presets=("frozenlake",),
        options=ONE_EVALUATION,
        episodes=1_000,
    ),
    "n-step-sarsa-chain": Reference(
        "the far end of a chain instead of the near one",
        "n-step-sarsa",
        "gymnast/Chain-v0",
        1.0,
        OPTIMUM,
        options={"n_step": 3, "epsilon": "linear:1:0.1:10000", "steps": 20_000},
        episodes=10,
    ),
    "dyna-q-maze": Reference(
        "steps to the goal of a maze",
        "dyna-q",
        "gymnast/DynaMaze-v0",
        14.0,
        SHORTEST,
        options=MAZE | {"alpha": 0.1},
        episodes=10,
        measure="length",
    ),
    "prioritized-sweeping-maze": Reference(
        "steps to the goal of a maze",
        "prioritized-sweeping",
        "gymnast/DynaMaze-v0",
        14.0,
        SHORTEST,
        options=MAZE,
        episodes=10,
        measure="length",
    ),
    "td-frozenlake": Reference(
        "values of the uniform policy",
        "td",
        "FrozenLake-v1",
        0.0,
        "exact",
        options={"alpha": "linear:0.1:0.0005:3000000", "gamma": 0.9, "steps": 3_000_000, "log_every": 100_000},
        measure="value error",
    ),
    **{
        f"{agent}-frozenlake": Reference(
            "chance of success on slippery ice", agent, "FrozenLake-v1", 0.7402, OPTIMUM, episodes=1_000
        )
        for agent in ("value-iteration", "policy-iteration")
    },
    **{
        f"{agent}-bandit": Reference(
            "the best of ten arms",
            agent,
            "gymnast/Bandit-v0",
            1_304.0,
            "mean of the best arm",
            options={"steps": 10_000},
        )
        for agent in ("ucb", "thompson")
    },
}
