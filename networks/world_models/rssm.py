"""Recurrent state-space model with categorical latents and a block-diagonal GRU (Hafner et al. 2023, section 3.1)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from gymnast.networks.world_models.layers import BlockLinear, RMSNorm, hidden

UNIMIX = 0.01
"""Share of a uniform distribution in every categorical one, so that no probability is 0 and no KL infinite."""


class State(NamedTuple):
    """The model's state of B rows."""

    deter: Tensor
    """[..., D], the recurrent state."""
    stoch: Tensor
    """[..., S, C], a one-hot vector for each of the S latents."""

    @property
    def features(self) -> Tensor:
        """[..., D + S * C], what every head reads."""
        return torch.cat([self.deter, self.stoch.flatten(-2)], -1)


class RSSM(nn.Module):
    """h_t = f(h_{t-1}, z_{t-1}, a_{t-1}); prior p(z_t | h_t); posterior q(z_t | h_t, tokens of the observation)."""

    def __init__(
        self, tokens: int, actions: int, *, deter: int, hidden_units: int, stoch: int, classes: int, blocks: int
    ) -> None:
        super().__init__()
        self.deter, self.stoch, self.classes, self.blocks = deter, stoch, classes, blocks
        units = hidden_units
        self.of_deter, self.of_stoch, self.of_action = (hidden((n, units)) for n in (deter, stoch * classes, actions))
        self.mix_deter = BlockLinear(blocks, deter // blocks, deter // blocks)
        self.mix_inputs = nn.Linear(3 * units, deter, bias=False)  # its blocks read all inputs
        self.mix_norm = RMSNorm(deter)
        self.gates = BlockLinear(blocks, deter // blocks, 3 * deter // blocks)
        self.prior = nn.Sequential(hidden((deter, units, units)), nn.Linear(units, stoch * classes))
        self.posterior_deter = nn.Linear(deter, units)
        self.posterior_tokens = nn.Linear(tokens, units, bias=False)
        self.posterior_norm = RMSNorm(units)
        self.posterior = nn.Linear(units, stoch * classes)

    @property
    def features(self) -> int:
        return self.deter + self.stoch * self.classes

    def initial(self, rows: int, *, device: torch.device) -> State:
        """The state before an episode: zeros."""
        deter = torch.zeros((rows, self.deter), device=device)
        return State(deter, torch.zeros((rows, self.stoch, self.classes), device=device))

    def advance(self, state: State, action: Tensor) -> Tensor:
        """The recurrent state [B, D] after actions [B, A]."""
        return self._advance(state, self.of_action(action))

    def _advance(self, state: State, of_action: Tensor) -> Tensor:
        rows = len(of_action)
        inputs = torch.cat([self.of_deter(state.deter), self.of_stoch(state.stoch.flatten(1)), of_action], -1)
        blocked = state.deter.view(rows, self.blocks, -1).transpose(0, 1)  # [G, B, D / G]
        mixed = self.mix_deter(blocked).transpose(0, 1).reshape(rows, -1) + self.mix_inputs(inputs)
        mixed = self.mix_norm(mixed).view(rows, self.blocks, -1).transpose(0, 1)
        reset, candidate, update = self.gates(mixed).transpose(0, 1).float().chunk(3, -1)  # each [B, G, D / G]
        candidate = torch.tanh(reset.sigmoid() * candidate)
        kept = state.deter.view_as(candidate)
        # The -1 lets the recurrent state mostly stay at first.
        return torch.lerp(kept, candidate, (update - 1.0).sigmoid()).reshape(rows, -1)

    def prior_log_probs(self, deter: Tensor) -> Tensor:
        """Log-probabilities [..., S, C] of the latents before the observation."""
        return self.mixed(self.prior(deter))

    def posterior_log_probs(self, deter: Tensor, of_tokens: Tensor) -> Tensor:
        """Log-probabilities [..., S, C] of the latents after it; `of_tokens` is `posterior_tokens` of the tokens."""
        return self.mixed(self.posterior(self.posterior_norm(self.posterior_deter(deter) + of_tokens)))

    def mixed(self, logits: Tensor) -> Tensor:
        """Log-probabilities [..., S, C] of logits [..., S * C], mixed with 1 % of a uniform distribution."""
        return unimix(logits.float().view(*logits.shape[:-1], self.stoch, self.classes))

    def observe(
        self, tokens: Tensor, action: Tensor, start: Tensor, state: State, noise: Tensor
    ) -> tuple[State, Tensor, Tensor]:
        """Watch T steps: states [B, T, ...], and log-probabilities of the posterior and the prior [B, T, S, C].

        `tokens` [B, T, K]; `action` [B, T, A] are those before each observation; where an episode begins (`start` bool
        [B, T]) the state and the action are zero. `noise` [T, B, S, C] is `gumbel`.

        Everything that does not depend on the recurrent state is computed for all steps at once.
        """
        keep = (~start).float().t().unsqueeze(-1)  # [T, B, 1]
        of_action = self.of_action(action.transpose(0, 1) * keep)
        of_tokens = self.posterior_tokens(tokens).transpose(0, 1)
        deters, stochs, posteriors = [], [], []
        for of_action_t, of_tokens_t, keep_t, noise_t in zip(of_action, of_tokens, keep, noise, strict=True):
            before = State(state.deter * keep_t, state.stoch * keep_t.unsqueeze(-1))
            deter = self._advance(before, of_action_t)
            posterior = self.posterior_log_probs(deter, of_tokens_t)
            state = State(deter, straight_through(posterior, noise_t))
            deters.append(deter)
            stochs.append(state.stoch)
            posteriors.append(posterior)
        deter = torch.stack(deters, 1)
        return State(deter, torch.stack(stochs, 1)), torch.stack(posteriors, 1), self.prior_log_probs(deter)

    def imagine_step(self, state: State, action: Tensor, noise: Tensor) -> State:
        """One step without an observation; `noise` [B, S, C] is `gumbel`, or 0 for the most probable latents."""
        deter = self.advance(state, action)
        return State(deter, one_hot_argmax(self.prior_log_probs(deter) + noise))


def unimix(logits: Tensor, share: float = UNIMIX) -> Tensor:
    """Log-probabilities [..., C] of logits, mixed with a share of the uniform distribution."""
    return (logits.softmax(-1) * (1.0 - share) + share / logits.shape[-1]).log()


def gumbel(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Standard Gumbel noise: the largest of log p + noise is a draw from p."""
    clock = torch.empty(shape, device=generator.device).exponential_(generator=generator)
    return -clock.clamp_(min=2.0**-25).log_()


def straight_through(log_probs: Tensor, noise: Tensor) -> Tensor:
    """One-hot draws [..., C] that have the gradient of their probabilities (Bengio et al. 2013)."""
    probs = log_probs.exp()
    return one_hot_argmax(log_probs.detach() + noise) + (probs - probs.detach())


def one_hot_argmax(scores: Tensor) -> Tensor:
    """A one-hot vector [..., C] for the largest score."""
    return torch.zeros_like(scores).scatter_(-1, scores.argmax(-1, keepdim=True), 1.0)


def kl(left: Tensor, right: Tensor) -> Tensor:
    """KL divergence [...] in nats, summed over the latents, of log-probabilities [..., S, C] from others."""
    return (left.exp() * (left - right)).sum((-2, -1))


def balanced_kl(posterior: Tensor, prior: Tensor, *, free_nats: float) -> tuple[Tensor, Tensor]:
    """Losses [...] of the dynamics, which teaches the prior, and of the representation, which teaches the posterior.

    Below `free_nats` both have no gradient (equation 5).
    """
    dynamics = kl(posterior.detach(), prior).clamp(min=free_nats)
    representation = kl(posterior, prior.detach()).clamp(min=free_nats)
    return dynamics, representation


def barlow(one: Tensor, other: Tensor, *, off_diagonal: float) -> Tensor:
    """Redundancy reduction [] of paired vectors [B, K]: their correlation matrix is pulled to the identity.

    Zbontar et al. 2021, equation 1; `off_diagonal` weighs the entries beside the diagonal.
    """
    one, other = (functional.batch_norm(part, None, None, training=True) for part in (one, other))
    correlation = one.t() @ other / len(one)
    diagonal = correlation.diagonal()
    beside = correlation.square().sum() - diagonal.square().sum()
    return (1.0 - diagonal).square().sum() + off_diagonal * beside
