"""The networks and losses of IRIS: observe as codes, imagine with the transformer, learn from both.

Letters: B sequences of T steps; K codes of an observation; H steps of an imagined episode. Section numbers are those of
Micheli et al. 2023, "Transformers are sample-efficient world models".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import gymnasium as gym
import torch
from gymnasium import spaces
from torch import Tensor, nn

from gymnast.agents.base import Metrics
from gymnast.agents.maths.returns import lambda_returns
from gymnast.agents.world_models.iris_config import IrisConfig
from gymnast.envs.step import Obs
from gymnast.networks.distributions.bounded import BoundedNormal
from gymnast.networks.distributions.distributions import Distribution, distribution
from gymnast.networks.world_models import frames
from gymnast.networks.world_models.actions import ActionInputs
from gymnast.networks.world_models.frame_policy import FramePolicy
from gymnast.networks.world_models.token_world import BEGINS, FOLLOWS, TokenWorld


@dataclass(slots=True)
class CodeSequences:
    """B replayed sequences of T steps: the codes of an observation, and what led to it."""

    codes: Tensor
    """int64 [B, T, K]."""
    action: Tensor
    """[B, T, A], the action before the observation, as the transformer reads it."""
    reward: Tensor
    """[B, T], the reward that came with the observation."""
    terminated: Tensor
    """float32 [B, T], 1 if the observation is of a terminal state."""
    start: Tensor
    """bool [B, T], an episode begins: action, reward and end mean nothing."""

    @property
    def kind(self) -> Tensor:
        """int64 [B, T], as `TokenWorld` takes it."""
        return torch.where(self.start, BEGINS, FOLLOWS)

    def last(self, steps: int) -> CodeSequences:
        """The last steps."""
        parts = (self.codes, self.action, self.reward, self.terminated, self.start)
        return CodeSequences(*(part[:, part.shape[1] - steps :] for part in parts))


class Imagined(NamedTuple):
    """B imagined episodes of H steps, the replayed one that they begin with included."""

    policy: Tensor
    """[H - 1, B, P], the policy's outputs at all steps but the last, with gradient."""
    value: Tensor
    """[H, B], with gradient."""
    action: Tensor
    """[H - 1, B, ...], the raw actions drawn from them."""
    reward: Tensor
    """[H - 1, B], after each action."""
    ended: Tensor
    """bool [H - 1, B], the action led to a terminal state."""


class IrisModel(nn.Module):
    """Tokenizer, transformer and policy of one environment's spaces.

    Raises:
        ValueError: for unsupported spaces.
    """

    def __init__(
        self,
        observation_space: gym.Space[Any],
        action_space: gym.Space[Any],
        config: IrisConfig,
        *,
        generator: torch.Generator,
        device: torch.device,
    ) -> None:
        super().__init__()
        self.config = config
        self.actions = ActionInputs(action_space, device=device)
        self.distribution = _distribution(action_space, device)
        self.places = config.code_grid**2 if frames.is_picture(observation_space) else config.vector_codes
        self.tokenizer = frames.tokenizer(
            observation_space,
            code_grid=config.code_grid,
            places=config.vector_codes,
            codes=config.codes,
            code_size=config.code_size,
            channels=config.tokenizer_channels,
            blocks=config.tokenizer_blocks,
            units=config.tokenizer_units,
            generator=generator,
        )
        self.world = TokenWorld(
            codes=config.codes,
            places=self.places,
            action_size=self.actions.size,
            steps=config.sequence_length,
            width=config.model_width,
            layers=config.model_layers,
            heads=config.model_heads,
            dropout=config.model_dropout,
            signs=config.predicted_reward == "sign",
            generator=generator,
        )
        self.policy = FramePolicy(
            self.tokenizer.target.shape,
            self.distribution.outputs,
            channels=config.policy_channels,
            units=config.memory_size,
            generator=generator,
        )
        self.eval()

    # Observe.

    @torch.no_grad()
    def codes(self, obs: Obs) -> Tensor:
        """Codes int64 [B, K] of observations [B, ...]."""
        return self.tokenizer.encode(obs)

    @torch.no_grad()
    def seen(self, codes: Tensor) -> Tensor:
        """What the policy sees of codes [B, K]: their images [B, C, H, W] between 0 and 1, or vectors (section 2.3)."""
        return self.shown(self.tokenizer.embedded(codes))

    def shown(self, embedded: Tensor) -> Tensor:
        """The same of the codes' numbers [B, K * D], with their gradient."""
        restored = self.tokenizer.restored_from(embedded)
        return restored.clamp(0.0, 1.0) if self.policy.pictured else restored

    # Imagine.

    def imagine(self, batch: CodeSequences, generator: torch.Generator) -> Imagined:
        """Episodes of the policy from the last step of each sequence, those before it for the policy's memory.

        The tokenizer and the transformer get no gradient.
        """
        config = self.config
        known = batch.last(config.context)
        playing = self.world.begin(known.codes, known.action, known.kind, steps=config.horizon - 1)
        memory, seen = self._burnt_in(batch.last(config.burn_in + 1))
        values: list[Tensor] = []
        steps: list[tuple[Tensor, ...]] = []  # output, action, reward and end of each step
        for step in range(config.horizon):
            output, value, memory = self.policy.step(seen, memory)
            values.append(value)
            if step == config.horizon - 1:
                break
            raw = self.distribution.sample(output.detach(), generator)
            arrived = self.world.play(playing, self.actions(self.distribution.to_env(raw)), generator)
            seen = self.seen(arrived.codes)
            steps.append((output, raw, arrived.reward, arrived.ended))
        outputs, actions, rewards, ends = (torch.stack(part) for part in zip(*steps, strict=True))
        return Imagined(outputs, torch.stack(values), actions, rewards, ends)

    @torch.no_grad()
    def _burnt_in(self, batch: CodeSequences) -> tuple[Tensor, Tensor]:
        """The policy's memory [B, M] before the last step of sequences, and what it sees there."""
        rows, steps, _ = batch.codes.shape
        seen = self.seen(batch.codes.flatten(0, 1))
        seen = seen.view(rows, steps, *seen.shape[1:])
        memory = torch.zeros((rows, self.policy.memory_size), device=seen.device)
        memory = self.policy.after(seen[:, :-1], batch.start[:, :-1], memory)
        return memory.masked_fill(batch.start[:, -1:], 0.0), seen[:, -1]

    # Learn.

    def tokenizer_loss(self, obs: Obs, generator: torch.Generator) -> tuple[Tensor, Metrics]:
        """The error of restored observations [B, ...], and the distance from their codes (section 2.1)."""
        losses = self.tokenizer.losses(obs, generator)
        loss = losses.error + self.config.commitment * losses.distance
        used = torch.zeros(self.config.codes, device=losses.codes.device).index_fill_(0, losses.codes.flatten(), 1.0)
        return loss, {
            "reconstruction_loss": losses.error.detach(),
            "code_distance": losses.distance.detach(),
            "codes_used": used.sum(),
        }

    def world_loss(self, batch: CodeSequences) -> tuple[Tensor, Metrics]:
        """Cross-entropies of codes, rewards and ends in replayed sequences (section 2.2)."""
        codes, reward, ending = self.world.losses(batch.codes, batch.action, batch.kind, batch.reward, batch.terminated)
        metrics = {"code_loss": codes.detach(), "reward_loss": reward.detach(), "ending_loss": ending.detach()}
        return codes + reward + ending, metrics

    def policy_loss(self, batch: CodeSequences, generator: torch.Generator) -> tuple[Tensor, Metrics]:
        """REINFORCE with a value as its baseline, and the value's squared error, in imagined episodes (appendix B)."""
        config = self.config
        imagined = self.imagine(batch, generator)
        going = 1.0 - imagined.ended.float()  # [H - 1, B]
        with torch.no_grad():
            boundary = torch.zeros_like(imagined.ended)
            value = imagined.value.detach()
            returns = lambda_returns(imagined.reward, config.gamma * going, value[1:], boundary, config.return_lambda)
            alive = torch.cat([1.0 - batch.terminated[:, -1:].t(), going[:-1]]).cumprod(0)
        log_prob, entropy = self.distribution.log_prob_entropy(imagined.policy, imagined.action)
        actor = -(alive * (log_prob * (returns - value[:-1]) + config.entropy_coef * entropy)).mean()
        critic = (alive * (imagined.value[:-1] - returns).square()).mean()
        return actor + critic, {
            "policy_loss": actor.detach(),
            "value_loss": critic.detach(),
            "entropy": entropy.detach().mean(),
            "imagined_return": returns[0].mean(),
            "imagined_reward": (alive * imagined.reward).mean(),
            "imagined_ends": (alive * (1.0 - going)).sum(0).mean(),
        }


def _distribution(space: gym.Space[Any], device: torch.device) -> Distribution:
    return BoundedNormal(space, device=device) if isinstance(space, spaces.Box) else distribution(space, device=device)
