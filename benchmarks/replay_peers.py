"""The contenders of replay.py from other libraries; each imports its library when it is built."""

from __future__ import annotations

import numpy as np
from replay_task import ALPHA, BETA, PERIOD, Contender, Steps


class StableBaselines3(Contender):
    def __init__(self, size: int, num_envs: int, kind: str) -> None:
        from gymnasium import spaces
        from stable_baselines3.common.buffers import ReplayBuffer

        self.buffer = ReplayBuffer(
            size,
            spaces.Box(0, 255, (4, 84, 84), np.uint8),
            spaces.Discrete(6),
            device="cpu",
            n_envs=num_envs,
            optimize_memory_usage=kind == "optimized",
            handle_timeout_termination=kind != "optimized",
        )
        self.steps, self.infos = Steps(num_envs), [{} for _ in range(num_envs)]

    def add(self) -> None:
        obs, next_obs, ended = self.steps.next()
        self.buffer.add(obs, next_obs, self.steps.action, self.steps.reward, ended, self.infos)

    def sample(self, batch: int, error: np.ndarray) -> None:
        self.buffer.sample(batch)


class Tianshou(Contender):
    def __init__(self, size: int, num_envs: int, kind: str) -> None:
        from tianshou.data import Batch, PrioritizedVectorReplayBuffer, VectorReplayBuffer

        options = {"stack_num": 4, "ignore_obs_next": True, "save_only_last_obs": True}
        self.prioritized = kind == "prioritized"
        if self.prioritized:
            self.buffer = PrioritizedVectorReplayBuffer(size, num_envs, alpha=ALPHA, beta=BETA, **options)
        else:
            self.buffer = VectorReplayBuffer(size, num_envs, **options)
        self.steps, self.new_batch = Steps(num_envs), Batch

    def add(self) -> None:
        obs, next_obs, ended = self.steps.next()
        steps = self.steps
        self.buffer.add(
            self.new_batch(
                obs=obs,
                act=steps.action,
                rew=steps.reward,
                terminated=ended,
                truncated=steps.flags[0],
                done=ended,
                obs_next=next_obs,
            )
        )

    def sample(self, batch: int, error: np.ndarray) -> None:
        _, index = self.buffer.sample(batch)
        if self.prioritized:
            self.buffer.update_weight(index, error)


class Cpprb(Contender):
    def __init__(self, size: int, num_envs: int, kind: str) -> None:
        import cpprb

        if num_envs > 1:
            raise NotImplementedError
        content = {
            "obs": {"shape": (84, 84, 4), "dtype": np.uint8},
            "act": {"dtype": np.int64},
            "rew": {},
            "done": {},
        }
        make = cpprb.PrioritizedReplayBuffer if kind == "prioritized" else cpprb.ReplayBuffer
        options = {"alpha": ALPHA} if kind == "prioritized" else {}
        self.buffer = make(size, content, next_of="obs", stack_compress="obs", **options)
        self.steps, self.prioritized = Steps(1), kind == "prioritized"
        self.steps.stacks = [np.moveaxis(stack[0], 0, -1) for stack in self.steps.stacks]

    def add(self) -> None:
        obs, next_obs, ended = self.steps.next()
        self.buffer.add(obs=obs, act=0, rew=1.0, next_obs=next_obs, done=ended[0])
        if ended[0]:
            self.buffer.on_episode_end()

    def sample(self, batch: int, error: np.ndarray) -> None:
        if self.prioritized:
            sampled = self.buffer.sample(batch, BETA)
            self.buffer.update_priorities(sampled["indexes"], error)
        else:
            self.buffer.sample(batch)


class TorchRL(Contender):
    def __init__(self, size: int, num_envs: int, kind: str) -> None:
        import torch
        from tensordict import TensorDict
        from torchrl.data import LazyTensorStorage, TensorDictReplayBuffer

        self.buffer = TensorDictReplayBuffer(storage=LazyTensorStorage(size))
        self.steps, self.num_envs, self.dict = Steps(num_envs), num_envs, TensorDict
        self.stacks = [torch.from_numpy(stack) for stack in self.steps.stacks]
        self.numbers = [torch.from_numpy(part) for part in (self.steps.action, self.steps.reward, self.steps.flags[0])]

    def add(self) -> None:
        at, self.steps.time = self.steps.time % PERIOD, self.steps.time + 1
        action, reward, ended = self.numbers
        after = {"observation": self.stacks[(at + 1) % PERIOD], "reward": reward, "done": ended}
        step = {"observation": self.stacks[at], "action": action, "next": after}
        self.buffer.extend(self.dict(step, batch_size=[self.num_envs]))

    def sample(self, batch: int, error: np.ndarray) -> None:
        self.buffer.sample(batch)
