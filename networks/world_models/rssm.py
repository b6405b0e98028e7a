"""Recurrent state-space model with categorical latents and a block-diagonal GRU (Hafner et al. 2023, section 3.1)."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from gymnast.networks.fast.draws import draw
from gymnast.networks.fast.observed_sequence import ObservedSequence, Shape, Weights
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
        # Each block reads all inputs: three layers, so that what only depends on the action is computed beforehand.
        self.mix_of_deter, self.mix_of_stoch, self.mix_of_action = (
            nn.Linear(units, deter, bias=False) for _ in range(3)
        )
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

    def given(self, action: Tensor) -> Tensor:
        """The part [..., D] that actions [..., A] have in the next recurrent state."""
        part: Tensor = self.mix_of_action(self.of_action(action))
        return part

    def advance(self, state: State, given: Tensor) -> Tensor:
        """The recurrent state [B, D] after actions, of which `given` is the part."""
        rows = len(given)
        read = self.mix_of_deter(self.of_deter(state.deter)) + self.mix_of_stoch(self.of_stoch(state.stoch.flatten(1)))
        blocked = state.deter.view(rows, self.blocks, -1).transpose(0, 1)  # [G, B, D / G]
        mixed = self.mix_deter(blocked).transpose(0, 1).reshape(rows, -1) + read + given
        mixed = self.mix_norm(mixed).view(rows, self.blocks, -1).transpose(0, 1)
        return gated_step(self.gates(mixed).float(), state.deter)

    def prior_probs(self, deter: Tensor) -> Tensor:
        """Probabilities [..., S, C] of the latents before the observation."""
        return self._mixed(self.prior(deter))

    def posterior_probs(self, deter: Tensor, of_tokens: Tensor) -> Tensor:
        """Probabilities [..., S, C] of the latents after it; `of_tokens` is `posterior_tokens` of the tokens."""
        return self._mixed(self.posterior(self.posterior_norm(self.posterior_deter(deter) + of_tokens)))

    def _mixed(self, logits: Tensor) -> Tensor:
        """Probabilities [..., S, C] of logits [..., S * C], mixed with 1 % of a uniform distribution."""
        return unimix(logits.float().view(*logits.shape[:-1], self.stoch, self.classes))

    def observe(
        self, tokens: Tensor, action: Tensor, start: Tensor, state: State, uniform: Tensor
    ) -> tuple[State, Tensor, Tensor]:
        """Watch T steps: states [B, T, ...], and log-probabilities of the posterior and the prior [B, T, S, C].

        `tokens` [B, T, K]; `action` [B, T, A] are those before each observation; where an episode begins (`start` bool
        [B, T]) the state and the action are zero. `uniform` [T, B, S] draws the latents.

        Everything that does not depend on the recurrent state is computed for all steps at once.
        """
        keep = (~start).float().t().unsqueeze(-1)  # [T, B, 1]
        given = self.given(action.transpose(0, 1) * keep).float()
        of_tokens = self.posterior_tokens(tokens).transpose(0, 1).float()
        on_host = start.is_cpu and not torch.compiler.is_compiling()
        run = self.by_hand if on_host else self.step_by_step
        deter, stoch, posterior = run(given, of_tokens, keep, start, state, uniform)
        deter = deter.transpose(0, 1)
        states = State(deter, stoch.transpose(0, 1))
        return states, posterior.transpose(0, 1).log(), self.prior_probs(deter).log()

    def step_by_step(
        self, given: Tensor, of_tokens: Tensor, keep: Tensor, start: Tensor, state: State, uniform: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Recurrent states [T, B, D], latents and their posterior probabilities [T, B, S, C], by autograd."""
        deters, stochs, posteriors = [], [], []
        for step in range(len(given)):
            before = State(state.deter * keep[step], state.stoch * keep[step].unsqueeze(-1))
            deter = self.advance(before, given[step])
            posterior = self.posterior_probs(deter, of_tokens[step])
            state = State(deter, straight_through(posterior, uniform[step]))
            deters.append(deter)
            stochs.append(state.stoch)
            posteriors.append(posterior)
        return torch.stack(deters), torch.stack(stochs), torch.stack(posteriors)

    def by_hand(
        self, given: Tensor, of_tokens: Tensor, keep: Tensor, start: Tensor, state: State, uniform: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """`step_by_step` on the CPU, with the backward pass written out."""
        dtype = torch.bfloat16 if torch.is_autocast_enabled("cpu") else torch.float32
        shape = Shape(self.stoch, self.classes, UNIMIX, start.any(0).tolist(), dtype)
        of_deter, deter_norm, of_stoch, stoch_norm = (*self.of_deter, *self.of_stoch)
        assert isinstance(of_deter, nn.Linear)
        assert isinstance(of_stoch, nn.Linear)
        assert isinstance(deter_norm, RMSNorm)
        assert isinstance(stoch_norm, RMSNorm)
        weights = Weights(
            of_deter=of_deter.weight,
            of_deter_bias=of_deter.bias,
            of_deter_scale=deter_norm.scale,
            of_stoch=of_stoch.weight,
            of_stoch_bias=of_stoch.bias,
            of_stoch_scale=stoch_norm.scale,
            mix_of_deter=self.mix_of_deter.weight,
            mix_of_stoch=self.mix_of_stoch.weight,
            mix_deter=self.mix_deter.weight,
            mix_deter_bias=self.mix_deter.bias,
            mix_scale=self.mix_norm.scale,
            gates=self.gates.weight,
            gates_bias=self.gates.bias,
            posterior_deter=self.posterior_deter.weight,
            posterior_deter_bias=self.posterior_deter.bias,
            posterior_scale=self.posterior_norm.scale,
            posterior=self.posterior.weight,
            posterior_bias=self.posterior.bias,
        )
        inputs = (shape, given, of_tokens, keep, state.deter, state.stoch.flatten(1), uniform)
        deter, stoch, posterior = ObservedSequence.apply(*inputs, *weights)  # type: ignore[no-untyped-call]
        latents = (*stoch.shape[:2], self.stoch, self.classes)
        return deter, stoch.view(latents), posterior.view(latents)

    def imagine_step(self, state: State, given: Tensor, uniform: Tensor | None, *, temperature: float = 1.0) -> State:
        """One step without an observation, after actions of which `given` is the part: latents drawn from the prior.

        `uniform` [B, S] draws them. `temperature` divides the logarithms of their probabilities; 0, or no `uniform`,
        takes the most probable ones.
        """
        deter = self.advance(state, given)
        probs = self.prior_probs(deter)
        if uniform is None or temperature == 0.0:
            return State(deter, one_hot_argmax(probs))
        if temperature != 1.0:
            probs = (probs.log() / temperature).softmax(-1)
        return State(deter, draw(probs, uniform))


def pack(state: State) -> Tensor:
    """A state as numbers [..., D + S]: the recurrent state, and the class of each latent, -1 before an episode."""
    none = state.stoch.sum(-1) < 0.5
    classes = state.stoch.argmax(-1).masked_fill(none, -1)
    return torch.cat([state.deter, classes.to(state.deter.dtype)], -1)


def unpack(packed: Tensor, *, deter: int, classes: int) -> State:
    """The state of packed numbers [..., D + S]."""
    latents = packed[..., deter:].long()
    stoch = functional.one_hot(latents.clamp(min=0), classes).float() * (latents >= 0).unsqueeze(-1)
    return State(packed[..., :deter], stoch)


def gated_step(gates: Tensor, state: Tensor) -> Tensor:
    """The next recurrent state [B, D] from gates [G, B, 3 * D / G]: reset, candidate and update of each block."""
    reset, candidate, update = gates.transpose(0, 1).chunk(3, -1)  # each [B, G, D / G]
    # tanh(x) = 2 sigmoid(2 x) - 1: on the CPU torch computes a sigmoid in a tenth of the time.
    candidate = 2.0 * (2.0 * reset.sigmoid() * candidate).sigmoid() - 1.0
    # The -1 lets the recurrent state mostly stay at first.
    return torch.lerp(state.view_as(candidate), candidate, (update - 1.0).sigmoid()).reshape(state.shape)


def unimix(logits: Tensor, share: float = UNIMIX) -> Tensor:
    """Probabilities [..., C] of logits, mixed with a share of the uniform distribution."""
    return torch.add(share / logits.shape[-1], logits.softmax(-1), alpha=1.0 - share)


def straight_through(probs: Tensor, uniform: Tensor | None) -> Tensor:
    """One-hot draws [..., C] that have the gradient of their probabilities (Bengio et al. 2013).

    Without `uniform` they are the most probable ones.
    """
    chosen = one_hot_argmax(probs) if uniform is None else draw(probs, uniform)
    passed: Tensor = _StraightThrough.apply(probs, chosen)  # type: ignore[no-untyped-call]
    return passed


class _StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, probs: Tensor, drawn: Tensor) -> Tensor:
        return drawn

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor, None]:
        return grads[0], None


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
