"""A network of action values with a memory."""

from __future__ import annotations

from torch import Tensor, nn

from gymnast.networks.heads.q import QNetwork
from gymnast.networks.layers.gated_transformer import GatedTransformer
from gymnast.networks.layers.inputs import Obs
from gymnast.networks.layers.recurrent import Core


class RecurrentQNetwork(QNetwork):
    """A backbone, a recurrent core or a transformer, and a head (Hausknecht & Stone 2015).

    `step` takes one observation, for acting; `features`, `after` and `read` take sequences, for learning. Called like
    any Q network, it values first observations, with an empty memory.
    """

    def __init__(
        self,
        backbone: nn.Module,
        core: Core | GatedTransformer,
        head: nn.Module,
        *,
        noise_size: int = 0,
        fractions: int = 0,
    ) -> None:
        super().__init__(backbone, head, noise_size=noise_size, fractions=fractions)
        self.core = core

    @property
    def memory_size(self) -> int:
        """M, the numbers remembered per row."""
        return self.core.memory_size

    def forward(self, obs: Obs, noise: Tensor | None = None) -> Tensor:
        features = self.backbone(obs)
        output: Tensor = self.head(
            self.core.step(features, features.new_zeros(len(features), self.memory_size))[0], noise
        )
        return output

    def step(self, obs: Obs, memory: Tensor, noise: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Observations [N, ...] and the memory before them [N, M] to values [N, A, K] and the memory after them."""
        features, memory = self.core.step(self.backbone(obs), memory)
        return self.head(features, noise), memory

    def features(self, obs: Obs, start: Tensor, memory: Tensor) -> Tensor:
        """Sequences [B, T, ...] with bool [B, T] and the memory before them [B, M] to [B, T, H].

        The backbone sees all B * T observations at once; the memory is zero before each one that `start` marks.
        """
        features: Tensor = self.core(self._seen(obs, start), start, memory)
        return features

    def after(self, obs: Obs, start: Tensor, memory: Tensor) -> Tensor:
        """The memory [B, M] after the sequences that `features` takes."""
        return self.core.after(self._seen(obs, start), start, memory)

    def _seen(self, obs: Obs, start: Tensor) -> Tensor:
        """What the backbone makes of them, [B, T, F]."""
        seen: Tensor = self.backbone(merged(obs))
        return seen.view(*start.shape, -1)

    def read(self, features: Tensor, noise: Tensor | None = None) -> Tensor:
        """The head on features [B, T, H]: values [B, T, A, K]; `noise` has B * T rows or one."""
        output: Tensor = self.head(features.flatten(0, 1), noise)
        return output.view(*features.shape[:2], *output.shape[1:])


def merged(obs: Obs) -> Obs:
    """Observations [B, T, ...] as [B * T, ...]."""
    if isinstance(obs, dict):
        return {key: merged(part) for key, part in obs.items()}
    return obs.flatten(0, 1)
