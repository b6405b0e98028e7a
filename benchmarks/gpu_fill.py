"""Full replay memories for the measurements on a GPU, without an environment."""

from __future__ import annotations

import torch

from gymnast.agents import DQN
from gymnast.agents.base import Acted
from gymnast.envs.step import Step
from gymnast.replay.device.ring import DeviceRing


def fill(ring: DeviceRing) -> None:
    """Make every slot a transition: random frames, rewards, ends and priorities, without the steps in between."""
    for frames in ring.frames:
        if frames.dtype == torch.uint8:
            frames.random_(0, 256)
        else:
            frames.normal_()
    ring.action.random_(0, 6)
    ring.reward.normal_()
    ring.bootstrap.fill_(1.0)
    ring.stop.bernoulli_(0.01)
    ring.ready.fill_(True)
    ring.ready[-1] = False
    ring.adds = ring.slots
    update = type(ring.sampler).update  # not the compiled one, which is for batches
    for part in torch.arange(ring.slots, device=ring.slot.device).split(8_192):
        ring.sampler.changed(part, ring.ready)
        update(ring.sampler, part, torch.rand(len(part), device=part.device))


def fill_by_steps(agent: DQN, steps: int) -> None:
    """Store steps of one endless episode in each stream."""
    shape, rows, device = agent.observation_space.shape or (), agent.num_envs, agent.device
    stack = torch.zeros((rows, *shape), dtype=torch.uint8 if len(shape) == 3 else torch.float32, device=device)
    no = torch.zeros(rows, dtype=torch.bool, device=device)
    for _ in range(steps):
        frame = torch.randint(0, 255, (rows, *shape), device=device).to(stack.dtype)
        following = torch.cat([stack[:, 1:], frame[:, -1:]], 1)
        reward = torch.randn(rows, device=device)
        step = Step(following, no, following, reward, no, no, num_active=rows, num_ended=0)
        agent.store(stack, Acted(torch.randint(0, 6, (rows,), device=device)), step)
        stack = following
