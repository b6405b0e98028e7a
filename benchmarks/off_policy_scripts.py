"""SAC and TD3 as plain PyTorch scripts, contenders of off_policy.py: one file, one loop, a NumPy replay, autograd.

They are what a person writes after the papers: a network per critic, Adam, no compiling, no vectorised critics.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import gymnasium
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

Moment = Callable[[int, int], None]
"""Called after each env step with the env steps and updates so far."""


def mlp(inputs: int, hidden: tuple[int, ...], outputs: int) -> nn.Sequential:
    sizes = (inputs, *hidden)
    layers = [part for pair in zip(sizes, hidden, strict=False) for part in (nn.Linear(*pair), nn.ReLU())]
    return nn.Sequential(*layers, nn.Linear(sizes[-1], outputs))


class Replay:
    """The last `size` transitions in NumPy arrays."""

    def __init__(self, size: int, obs: int, actions: int, seed: int) -> None:
        shapes = ((size, obs), (size, actions), (size, 1), (size, obs), (size, 1))
        self.parts = [np.zeros(shape, np.float32) for shape in shapes]
        self.size, self.count, self.rng = size, 0, np.random.default_rng(seed)

    def add(self, *transition: Any) -> None:
        """obs, action, reward, next_obs, terminated."""
        for part, value in zip(self.parts, transition, strict=True):
            part[self.count % self.size] = value
        self.count += 1

    def sample(self, batch: int) -> list[Tensor]:
        index = self.rng.integers(0, min(self.count, self.size), batch)
        return [torch.from_numpy(part[index]) for part in self.parts]


class Task:
    """The environment, the networks' sizes and the settings that both scripts share."""

    def __init__(self, env: str, *, hidden: tuple[int, ...], batch: int, replay: int, starts: int, rate: float) -> None:
        self.env = gymnasium.make(env)
        low, high = self.env.action_space.low, self.env.action_space.high  # type: ignore[attr-defined]
        self.scale, self.bias = torch.from_numpy((high - low) / 2), torch.from_numpy((high + low) / 2)
        self.obs, self.actions = self.env.observation_space.shape[0], len(low)  # type: ignore[index]
        self.hidden, self.batch, self.starts, self.rate = hidden, batch, starts, rate
        self.replay = Replay(replay, self.obs, self.actions, seed=0)
        self.gamma, self.tau = 0.99, 0.005
        self.critics = nn.ModuleList(mlp(self.obs + self.actions, hidden, 1) for _ in range(2))
        self.targets = copy.deepcopy(self.critics)
        self.critic_optimizer = torch.optim.Adam(self.critics.parameters(), rate)

    def play(self, steps: int, act: Callable[[Tensor], Tensor], moment: Moment) -> Iterator[list[Tensor]]:
        """Act for so many env steps; yields the batch of each update, one per step after the first random ones."""
        self.env.action_space.seed(0)
        obs, _ = self.env.reset(seed=0)
        for step in range(1, steps + 1):
            if step <= self.starts:
                action = self.env.action_space.sample()
            else:
                with torch.no_grad():
                    action = act(torch.as_tensor(obs, dtype=torch.float32)[None])[0].numpy()
            next_obs, reward, terminated, truncated, _ = self.env.step(action)
            self.replay.add(obs, action, reward, next_obs, terminated)
            obs = self.env.reset()[0] if terminated or truncated else next_obs
            if step > self.starts:
                yield self.replay.sample(self.batch)
            moment(step, max(step - self.starts, 0))

    def values(self, critics: nn.ModuleList, obs: Tensor, action: Tensor) -> list[Tensor]:
        both = torch.cat([obs, action], 1)
        return [critic(both) for critic in critics]

    def learn_critics(self, obs: Tensor, action: Tensor, target: Tensor) -> None:
        loss = torch.stack([F.mse_loss(value, target) for value in self.values(self.critics, obs, action)]).sum()
        self.critic_optimizer.zero_grad()
        loss.backward()
        self.critic_optimizer.step()

    @torch.no_grad()
    def follow(self, online: nn.Module, target: nn.Module) -> None:
        for one, other in zip(online.parameters(), target.parameters(), strict=True):
            other.lerp_(one, self.tau)


def sac(task: Task, steps: int, moment: Moment) -> None:
    """Soft actor-critic with a learned temperature (Haarnoja et al. 2018), updates of everything at each step."""
    policy = mlp(task.obs, task.hidden, 2 * task.actions)
    optimizer = torch.optim.Adam(policy.parameters(), task.rate)
    log_alpha = torch.zeros(1, requires_grad=True)
    alpha_optimizer = torch.optim.Adam([log_alpha], task.rate)

    def draw(obs: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_std = policy(obs).chunk(2, 1)
        normal = torch.distributions.Normal(mean, log_std.clamp(-20, 2).exp())
        raw = normal.rsample()
        squashed = torch.tanh(raw)
        log_prob = normal.log_prob(raw) - torch.log(task.scale * (1 - squashed**2) + 1e-6)
        return squashed * task.scale + task.bias, log_prob.sum(1, keepdim=True)

    for obs, action, reward, next_obs, terminated in task.play(steps, lambda obs: draw(obs)[0], moment):
        alpha = log_alpha.exp().detach()
        with torch.no_grad():
            next_action, next_log_prob = draw(next_obs)
            value = torch.min(*task.values(task.targets, next_obs, next_action)) - alpha * next_log_prob
            target = reward + task.gamma * (1 - terminated) * value
        task.learn_critics(obs, action, target)
        drawn, log_prob = draw(obs)
        loss = (alpha * log_prob - torch.min(*task.values(task.critics, obs, drawn))).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        alpha_loss = (-log_alpha.exp() * (log_prob.detach() - task.actions)).mean()
        alpha_optimizer.zero_grad()
        alpha_loss.backward()
        alpha_optimizer.step()
        task.follow(task.critics, task.targets)


def td3(task: Task, steps: int, moment: Moment) -> None:
    """Twin delayed DDPG (Fujimoto et al. 2018, algorithm 1), with noise in units of the actions' range."""
    policy = nn.Sequential(mlp(task.obs, task.hidden, task.actions), nn.Tanh())
    follower = copy.deepcopy(policy)
    optimizer = torch.optim.Adam(policy.parameters(), task.rate)
    low, high = task.bias - task.scale, task.bias + task.scale

    def act(obs: Tensor) -> Tensor:
        action = policy(obs) * task.scale + task.bias
        return (action + 0.1 * task.scale * torch.randn_like(action)).clamp(low, high)

    batches = task.play(steps, act, moment)
    for update, (obs, action, reward, next_obs, terminated) in enumerate(batches, 1):
        with torch.no_grad():
            noise = (0.2 * torch.randn_like(action)).clamp(-0.5, 0.5) * task.scale
            next_action = (follower(next_obs) * task.scale + task.bias + noise).clamp(low, high)
            value = torch.min(*task.values(task.targets, next_obs, next_action))
            target = reward + task.gamma * (1 - terminated) * value
        task.learn_critics(obs, action, target)
        if update % 2 == 0:
            loss = -task.critics[0](torch.cat([obs, policy(obs) * task.scale + task.bias], 1)).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            task.follow(policy, follower)
            task.follow(task.critics, task.targets)
