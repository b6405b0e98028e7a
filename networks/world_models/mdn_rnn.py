"""The dynamics of a world model: an LSTM whose outputs are a mixture density (Ha & Schmidhuber 2018, section 2.2)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from gymnast.networks.layers.init import initialise
from gymnast.networks.layers.recurrent import Core
from gymnast.networks.world_models.mixture import Mixture

SMALL = 1e-6
"""Deviation of rewards below which they are taken as constant."""


class Noise(NamedTuple):
    """The random numbers of one imagined step of N rows."""

    uniform: Tensor
    """[N, Z], choose components of the mixtures."""
    normal: Tensor
    """[N, Z], around their means."""
    end: Tensor
    """[N], uniform: whether the episode ends."""

    def rows(self, index: Tensor) -> Noise:
        """The noise of some rows, int64 [K]."""
        return Noise(*(part[index] for part in self))


class Outcome(NamedTuple):
    """What the model expects of a step beside the next latent."""

    reward: Tensor
    """[...], its mean, in deviations from the mean of the data."""
    end: Tensor
    """[...], the logit of termination."""


class MDNRNN(nn.Module):
    """Predicts the next latent from latents [.., Z] and actions [.., A] so far, and then the step's reward and end.

    A recurrent state is the output and the cell of the LSTM, [N, M]. The means of the mixture are counted from the
    latent before, so that a model that has learned nothing expects no change. Reward and end are read from the LSTM's
    output and the next latent: of several outcomes that a mixture holds, each has its own.
    """

    reward_mean: Tensor
    reward_std: Tensor
    reward_low: Tensor
    reward_high: Tensor

    def __init__(self, latent: int, actions: int, *, units: int, mixtures: int, generator: torch.Generator) -> None:
        super().__init__()
        self.latent, self.actions = latent, actions
        self.core = Core("lstm", latent + actions, units)
        self.mixture = nn.Linear(units, 3 * latent * mixtures)
        self.outcome = nn.Sequential(nn.Linear(units + latent, units), nn.ReLU(), nn.Linear(units, 2))
        initialise(self, "torch", activation=None, generator=generator)
        self.register_buffer("reward_mean", torch.zeros(()))
        self.register_buffer("reward_std", torch.ones(()))
        self.register_buffer("reward_low", torch.tensor(torch.inf))
        self.register_buffer("reward_high", torch.tensor(-torch.inf))

    @property
    def units(self) -> int:
        """H, the outputs of the LSTM, which are the first half of a recurrent state."""
        return self.core.out_features

    @property
    def memory_size(self) -> int:
        """M = 2 H."""
        return self.core.memory_size

    def scale_rewards(self, reward: Tensor) -> None:
        """Count rewards in deviations from their mean in those of a sample, [S]."""
        deviation = reward.std(correction=0)
        self.reward_mean.copy_(reward.mean())
        self.reward_std.copy_(torch.where(deviation > SMALL, deviation, torch.ones_like(deviation)))

    def note_rewards(self, reward: Tensor, counted: Tensor) -> None:
        """Widen the range of imagined rewards to those of `reward` [...] that `counted`, bool [...], marks."""
        low, high = (torch.where(counted, reward, limit) for limit in (torch.inf, -torch.inf))
        torch.minimum(self.reward_low, low.min(), out=self.reward_low)
        torch.maximum(self.reward_high, high.max(), out=self.reward_high)

    def forward(self, latent: Tensor, action: Tensor, start: Tensor) -> tuple[Mixture, Tensor]:
        """Next latents and outputs [B, T, H] for sequences [B, T, Z] and [B, T, A].

        The memory is empty at first and before each step that `start`, bool [B, T], marks.
        """
        memory = latent.new_zeros(len(latent), self.memory_size)
        output = self.core(torch.cat([latent, action], 2), start, memory)
        return Mixture.of(self.mixture(output), latent), output

    def outcomes(self, output: Tensor, following: Tensor) -> Outcome:
        """From outputs [..., H] and the next latents [..., Z]."""
        return Outcome(*self.outcome(torch.cat([output, following], -1)).unbind(-1))

    def step(self, latent: Tensor, action: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """The output [N, H] and the memory [N, M] after one step, from [N, Z], [N, A] and the memory before."""
        return self.core.step(torch.cat([latent, action], 1), memory)

    def after(self, latent: Tensor, action: Tensor, start: Tensor) -> Tensor:
        """The memory [B, M] after the sequences that `forward` takes."""
        memory = latent.new_zeros(len(latent), self.memory_size)
        return self.core.after(torch.cat([latent, action], 2), start, memory)

    def imagine(
        self, latent: Tensor, action: Tensor, memory: Tensor, noise: Noise, *, temperature: float
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """One imagined step of N rows: the next latent [N, Z], reward [N], end bool [N], and the memory after [N, M].

        The temperature scales the randomness of latents (`Mixture.tempered`), and divides the logit of the end. Rewards
        stay in the range of those that were noted: where the model has no data, it could promise any.
        """
        output, memory = self.step(latent, action, memory)
        mixture = Mixture.of(self.mixture(output), latent)
        following = mixture.sample(noise.uniform, noise.normal, temperature=temperature)
        outcome = self.outcomes(output, following)
        reward = self.reward_mean + self.reward_std * outcome.reward
        within = torch.minimum(torch.maximum(reward, self.reward_low), self.reward_high)
        reward = torch.where(self.reward_low <= self.reward_high, within, reward)
        end = outcome.end > 0 if temperature == 0.0 else noise.end < (outcome.end / temperature).sigmoid()
        return following, reward, end, memory

    def noise(self, rows: int, generator: torch.Generator) -> Noise:
        """The noise of a step of `rows` rows."""
        device = self.mixture.weight.device
        uniform = torch.rand((rows, self.latent + 1), generator=generator, device=device)
        normal = torch.randn((rows, self.latent), generator=generator, device=device)
        return Noise(uniform[:, :-1], normal, uniform[:, -1])
