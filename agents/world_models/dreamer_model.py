"""Dreamer's networks and losses: observe replayed sequences, imagine from every step of them, learn from both.

Letters: B sequences of T steps; M = B * T states to imagine from, H imagined steps; S latents of C classes. "Equation"
and "section" are those of Hafner et al. 2023, "Mastering diverse domains through world models".
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import gymnasium as gym
import torch
from gymnasium import spaces
from torch import Tensor, nn
from torch.nn import functional

from gymnast.agents.base import Metrics
from gymnast.agents.maths.returns import lambda_returns
from gymnast.agents.world_models.dreamer_config import SIZES, DreamerConfig
from gymnast.envs.step import Obs
from gymnast.networks.distributions.bounded import BoundedNormal
from gymnast.networks.distributions.distributions import Distribution, distribution
from gymnast.networks.fast.draws import draw
from gymnast.networks.world_models.actions import ActionInputs
from gymnast.networks.world_models.codec import Decoder, Encoder
from gymnast.networks.world_models.layers import NormedMLP, initialise
from gymnast.networks.world_models.observed import joined, parts_of
from gymnast.networks.world_models.rssm import (
    RSSM,
    State,
    balanced_kl,
    barlow,
    kl,
    one_hot_argmax,
    unimix,
)
from gymnast.networks.world_models.symlog import BINS, TwoHot

LATENTS, BLOCKS = 32, 8
LAYERS, HEAD_LAYERS = 3, 1
POLICY_SCALE = 0.01
"""Of the policy's first outputs: nearly uniform. Rewards and values begin at exactly 0."""
PERCENTILES = (0.05, 0.95)
RETURN_RATE = 0.01
"""Step of the running percentiles of returns."""
OFF_DIAGONAL = 5e-4


@dataclass(slots=True)
class Sequences:
    """B replayed sequences of T steps: each an observation and what led to it."""

    inputs: list[Tensor]
    """The parts of the observations as the encoder reads them, [B * T, ...]."""
    action: Tensor
    """[B, T, A], the action before the observation, as the model reads it."""
    reward: Tensor
    """[B, T], the reward that came with the observation; 0 at an episode's start."""
    terminated: Tensor
    """float32 [B, T], 1 if the observation is of a terminal state."""
    start: Tensor
    """bool [B, T], an episode begins."""
    last: Tensor
    """float32 [B, T], 1 if the observation is the last of its episode, terminal or cut off."""
    state: State
    """The model's state before the first step, [B, ...]."""

    def fill(self, other: Sequences) -> None:
        """Copy other sequences of the same shapes into these tensors."""
        mine, theirs = (
            (*part.inputs, part.action, part.reward, part.terminated, part.start, part.last, *part.state)
            for part in (self, other)
        )
        for tensor, values in zip(mine, theirs, strict=True):
            tensor.copy_(values)


class Imagined(NamedTuple):
    """Imagined steps from M states."""

    features: Tensor
    """[H + 1, M, F], without gradient."""
    policy: Tensor
    """[H, M, P], the policy's outputs in all states but the last, with the policy's gradient."""
    action: Tensor
    """[H, M, ...], the raw actions drawn from them."""


class DreamerModel(nn.Module):
    """World model, policy and value of one environment's spaces.

    Raises:
        ValueError: for unsupported spaces.
    """

    low: Tensor
    high: Tensor
    weight: Tensor

    def __init__(
        self,
        observation_space: gym.Space[Any],
        action_space: gym.Space[Any],
        config: DreamerConfig,
        *,
        generator: torch.Generator,
        device: torch.device,
    ) -> None:
        super().__init__()
        self.config = config
        size = SIZES[config.size]
        self.parts = parts_of(observation_space, device=device)
        self.actions = ActionInputs(action_space, device=device)
        self.distribution = _distribution(action_space, device)
        self._choices = _choices(action_space)
        self.encoder = Encoder(self.parts, depth=size.depth, units=size.units, layers=LAYERS)
        self.rssm = RSSM(
            self.encoder.tokens,
            self.actions.size,
            deter=size.deter,
            hidden_units=size.hidden,
            stoch=LATENTS,
            classes=size.classes,
            blocks=BLOCKS,
        )
        features, units = self.rssm.features, size.units
        self.decoder: Decoder | None = None
        if config.decoder == "none":
            self.projector = nn.Linear(features, self.encoder.tokens, bias=False)
        else:
            self.decoder = Decoder(features, self.parts, depth=size.depth, units=units, layers=LAYERS)
        self.reward = NormedMLP(features, units, HEAD_LAYERS, BINS, output_scale=0.0)
        self.ending = NormedMLP(features, units, HEAD_LAYERS, 1)
        self.policy = NormedMLP(features, units, LAYERS, self.distribution.outputs, output_scale=POLICY_SCALE)
        self.value = NormedMLP(features, units, LAYERS, BINS, output_scale=0.0)
        self.two_hot = TwoHot()
        initialise(self, generator)
        self.slow_value = copy.deepcopy(self.value).requires_grad_(False)
        for name in ("low", "high", "weight"):  # running percentiles of returns, and the weight that they have summed
            self.register_buffer(name, torch.zeros(()))

    # Observe.

    def inputs(self, obs: Obs) -> list[Tensor]:
        """The parts of observations [B, ...] as the encoder reads them."""
        return [part.inputs(obs) for part in self.parts]

    def observe_step(self, state: State, obs: Obs, action: Tensor, start: Tensor, uniform: Tensor | None) -> State:
        """The state [N, ...] after one observation and the environment's action before it.

        Rows that `start` an episode begin at zero. `uniform` [N, S] draws the latents; None takes the most probable.
        """
        keep = (~start).float().unsqueeze(1)  # [N, 1]
        before = State(state.deter * keep, state.stoch * keep.unsqueeze(2))
        deter, probs = self.posterior(before, self.actions(action) * keep, self.inputs(obs))
        return State(deter, one_hot_argmax(probs) if uniform is None else draw(probs, uniform))

    def posterior(self, before: State, action: Tensor, inputs: list[Tensor]) -> tuple[Tensor, Tensor]:
        """The next recurrent state [N, D], and the probabilities [N, S, C] of its latents after an observation.

        `action` [N, A] is that before it, as the model reads it.
        """
        tokens = self.rssm.posterior_tokens(self.encoder(inputs))
        deter = self.rssm.advance(before, self.rssm.given(action))
        return deter, self.rssm.posterior_probs(deter, tokens)

    def act(self, state: State) -> Tensor:
        """The policy's outputs [N, P] in states."""
        return self._policy(state.features)

    def values(self, features: Tensor) -> Tensor:
        """The values [...] of states [..., F]."""
        return self.two_hot.mean(self.value(features).float().log_softmax(-1))

    def _policy(self, features: Tensor) -> Tensor:
        """Outputs [..., P]; choices are mixed with 1 % of a uniform distribution."""
        output = self.policy(features).float()
        if not self._choices:
            return output  # type: ignore[no-any-return]
        return torch.cat([unimix(part).log() for part in output.split(self._choices, -1)], -1)

    # Imagine.

    @torch.no_grad()
    def imagine(self, state: State, generator: torch.Generator) -> Imagined:
        """H steps of the policy from states [M, ...], with latents of the prior (section 3.2).

        The model's gradient is not needed: the policy learns from the log-probabilities of its actions.
        """
        horizon, rows = self.config.horizon, len(state.deter)
        uniform = torch.rand((horizon, rows, LATENTS), generator=generator, device=generator.device)
        given = self._given_by_raw()
        features, outputs, actions = [state.features], [], []
        for step in range(horizon):
            with torch.enable_grad():
                output = self._policy(features[-1])
            raw = self.distribution.sample(output.detach(), generator)
            state = self.rssm.imagine_step(state, given(raw), uniform[step])
            outputs.append(output)
            actions.append(raw)
            features.append(state.features)
        with torch.enable_grad():
            policy = torch.stack(outputs)
        return Imagined(torch.stack(features), policy, torch.stack(actions))

    def _given_by_raw(self) -> Callable[[Tensor], Tensor]:
        """What raw actions [M, ...] give to the next state [M, D]; of one choice that is a table, made once."""
        rssm, choices = self.rssm, self._choices
        if self.distribution.shape == () and choices:
            table = rssm.given(torch.eye(choices[0], device=self.low.device))
            return lambda raw: table[raw]
        return lambda raw: rssm.given(self.actions(self.distribution.to_env(raw)))

    def decoded(self, state: State) -> Obs:
        """The most probable observations [N, ...] in states, as the environment would return them."""
        assert self.decoder is not None
        outputs = self.decoder(state.features)
        obs: Obs = joined(self.parts, [part.predicted(out) for part, out in zip(self.parts, outputs, strict=True)])
        return obs

    def rewards(self, features: Tensor) -> Tensor:
        """Expected rewards [...] on arrival in states [..., F]."""
        return self.two_hot.mean(self.reward(features).float().log_softmax(-1))

    def continues(self, features: Tensor) -> Tensor:
        """Probabilities [...] that states [..., F] are not terminal."""
        return self.ending(features).squeeze(-1).float().neg().sigmoid()  # type: ignore[no-any-return]

    # Learn.

    def loss(self, batch: Sequences, generator: torch.Generator) -> tuple[Tensor, State, Metrics]:
        """The sum of all losses [], the states of all steps [B, T, ...] without gradient, and metrics."""
        rows, steps = batch.start.shape
        tokens = self.encoder(batch.inputs)  # [B * T, K]
        uniform = torch.rand((steps, rows, LATENTS), generator=generator, device=generator.device)
        states, posterior, prior = self.rssm.observe(
            tokens.view(rows, steps, -1), batch.action, batch.start, batch.state, uniform
        )
        features = states.features  # [B, T, F]
        model_loss, metrics = self._model_loss(batch, tokens, features, posterior, prior)
        observed = State(states.deter.detach(), states.stoch.detach())
        imagined = self.imagine(State(*(part.flatten(0, 1) for part in observed)), generator)
        behaviour_loss, returns, more = self._behaviour_loss(imagined, batch.terminated.flatten())
        replay_loss = self._replay_value_loss(batch, features, returns[0].view(rows, steps))
        loss = model_loss + behaviour_loss + self.config.replay_value_coef * replay_loss
        total = {"loss": loss.detach(), "replay_value_loss": replay_loss.detach()}
        return loss, observed, total | metrics | more

    def _model_loss(
        self, batch: Sequences, tokens: Tensor, features: Tensor, posterior: Tensor, prior: Tensor
    ) -> tuple[Tensor, Metrics]:
        """Predictions of observation, reward and end, and both KL divergences (equations 3 to 5)."""
        config, flat = self.config, features.flatten(0, 1)
        if self.decoder is None:
            name = "barlow_loss"
            content = config.barlow_coef * barlow(self.projector(flat), tokens.detach(), off_diagonal=OFF_DIAGONAL)
        else:
            name, outputs = "reconstruction_loss", self.decoder(flat)
            parts = zip(self.parts, outputs, batch.inputs, strict=True)
            content = torch.stack([part.loss(output.float(), given).mean() for part, output, given in parts]).sum()
        reward = self.two_hot.loss(self.reward(features).float().log_softmax(-1), batch.reward).mean()
        ending = self.ending(features).squeeze(-1).float()
        ending = functional.binary_cross_entropy_with_logits(ending, batch.terminated)
        dynamics, representation = balanced_kl(posterior, prior, free_nats=config.free_nats)
        divergence = config.dynamics_coef * dynamics.mean() + config.representation_coef * representation.mean()
        with torch.no_grad():
            metrics = {
                "kl": kl(posterior, prior).mean(),
                "posterior_entropy": -(posterior.exp() * posterior).sum(-1).mean(),
            }
        metrics |= {name: content.detach(), "reward_loss": reward.detach(), "ending_loss": ending.detach()}
        return content + reward + ending + divergence, metrics

    def _behaviour_loss(self, imagined: Imagined, terminated: Tensor) -> tuple[Tensor, Tensor, Metrics]:
        """Losses of policy and value on imagined steps (equations 6 to 12), and their returns [H, M].

        `terminated` [M] tells which of the first states are terminal: nothing follows them.
        """
        config, features = self.config, imagined.features
        value_log_probs = self.value(features).float().log_softmax(-1)  # [H + 1, M, K]
        with torch.no_grad():
            reward = self.rewards(features[1:])  # [H, M]
            discount = config.gamma * self.continues(features[1:])
            value = self.two_hot.mean(value_log_probs)
            slow = self._slow(features[:-1])
            no_boundary = torch.zeros_like(reward, dtype=torch.bool)
            returns = lambda_returns(reward, discount, value[1:], no_boundary, config.return_lambda)
            alive = torch.cat([(1.0 - terminated).unsqueeze(0), discount[:-1]]).cumprod(0)  # [H, M]
            advantage = (returns - value[:-1]) / self._scale(returns)
        log_prob, entropy = self.distribution.log_prob_entropy(imagined.policy.float(), imagined.action)
        policy_loss = -(alive * (log_prob * advantage + config.entropy_coef * entropy)).mean()
        value_loss = (alive * self._value_loss(value_log_probs[:-1], returns, slow)).mean()
        metrics = {
            "policy_loss": policy_loss.detach(),
            "value_loss": value_loss.detach(),
            "entropy": entropy.detach().mean(),
            "imagined_return": returns.mean(),
            "imagined_reward": reward.mean(),
        }
        return policy_loss + value_loss, returns, metrics

    def _replay_value_loss(self, batch: Sequences, features: Tensor, imagined_return: Tensor) -> Tensor:
        """The value loss on replayed steps, with rewards of the replay and bootstraps of imagined returns [B, T].

        Its gradient reaches the world model too. From an episode's last step to the next one's first nothing counts.
        """
        config = self.config
        log_probs = self.value(features[:, :-1]).float().log_softmax(-1)  # [B, T - 1, K]
        with torch.no_grad():
            slow = self._slow(features[:, :-1])
            discount = config.gamma * (1.0 - batch.terminated[:, 1:])
            reward, bootstrap, boundary = batch.reward[:, 1:].t(), imagined_return[:, 1:].t(), batch.last[:, 1:].t() > 0
            returns = lambda_returns(reward, discount.t(), bootstrap, boundary, config.return_lambda).t()
        loss = self._value_loss(log_probs, returns, slow) * (1.0 - batch.last[:, :-1])
        return loss.mean()

    def _slow(self, features: Tensor) -> Tensor:
        """Values [...] of the slow network."""
        return self.two_hot.mean(self.slow_value(features).float().log_softmax(-1))

    def _value_loss(self, log_probs: Tensor, returns: Tensor, slow: Tensor) -> Tensor:
        """Cross-entropy [...] to returns, and to the slow network's values, which steady it (section 3.3)."""
        return self.two_hot.loss(log_probs, returns) + self.two_hot.loss(log_probs, slow)

    def _scale(self, returns: Tensor) -> Tensor:
        """The range [] of returns between their 5th and 95th percentile, averaged over updates; at least 1 (eq. 7)."""
        low, high = torch.quantile(returns.flatten(), returns.new_tensor(PERCENTILES)).unbind()
        for mine, theirs in ((self.low, low), (self.high, high), (self.weight, torch.ones_like(low))):
            mine.lerp_(theirs, RETURN_RATE)
        return ((self.high - self.low) / self.weight).clamp(min=1.0)

    @torch.no_grad()
    def follow(self, tau: float) -> None:
        """Move the slow value network towards the value network."""
        torch._foreach_lerp_(list(self.slow_value.parameters()), list(self.value.parameters()), tau)


def _distribution(space: gym.Space[Any], device: torch.device) -> Distribution:
    return BoundedNormal(space, device=device) if isinstance(space, spaces.Box) else distribution(space, device=device)


def _choices(space: gym.Space[Any]) -> list[int]:
    """The number of alternatives of each choice of an action space of choices."""
    if isinstance(space, spaces.Discrete):
        return [int(space.n)]
    return [int(n) for n in space.nvec.flatten()] if isinstance(space, spaces.MultiDiscrete) else []
