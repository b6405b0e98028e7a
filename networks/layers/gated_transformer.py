"""A transformer as a policy's memory: causal attention over the last steps of the episode."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

GATE_BIAS = 2.0
"""Bias that keeps the gates nearly shut at first, so that a policy begins as one without memory (section 3.2)."""


class GatedTransformer(nn.Module):
    """The gated transformer-XL (Parisotto et al. 2020) over a window of the episode's last `window` steps.

    Each layer attends from a step to the inputs that it had itself at this step and the `window` - 1 before, so that
    L layers see L * (window - 1) steps back. A learned bias for each head and distance tells places apart (Raffel et
    al. 2020, section 2.1): only distances count, and stepping equals a whole sequence. Gradients do not flow into the
    memory before a sequence.

    The memory [N, L * (window - 1) * width + 1] holds these inputs, the oldest step first, and the number of them that
    belong to the episode; the others are 0.
    """

    def __init__(self, in_features: int, width: int, *, window: int, layers: int, heads: int) -> None:
        super().__init__()
        self.embed = nn.Linear(in_features, width)
        self.layers = nn.ModuleList(GatedLayer(width, window, heads) for _ in range(layers))
        self.past = window - 1
        self.out_features = width
        self.memory_size = layers * self.past * width + 1

    def step(self, features: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """One time step: [N, F] and [N, M] to [N, width] and [N, M]."""
        inputs, count = self._opened(memory)
        age = torch.arange(self.past, -1, -1, device=memory.device)  # of the remembered steps and this one
        distance = age.unsqueeze(0)  # [1, K]
        seen = (age <= count).unsqueeze(1)  # [N, 1, K]
        outputs, kept = self._through(features.unsqueeze(1), inputs, distance, seen)
        return outputs[:, 0], self._closed(kept, (count + 1.0).clamp(max=float(self.past)))

    def forward(self, features: Tensor, start: Tensor, memory: Tensor) -> Tensor:
        """A sequence: [B, T, F], bool [B, T] and the memory before it [B, M] to [B, T, width].

        No step sees further back than to the last one that `start` marks.
        """
        return self._sequence(features, start, memory)[0]

    def after(self, features: Tensor, start: Tensor, memory: Tensor) -> Tensor:
        """The memory [B, M] after a sequence, `forward`'s arguments."""
        kept = self._sequence(features, start, memory)[1]
        steps = start.shape[1]
        last = (start * torch.arange(1, steps + 1, device=start.device)).amax(1, keepdim=True)  # 0 for none
        count = torch.where(last > 0, steps + 1.0 - last, steps + memory[:, -1:]).clamp(max=float(self.past))
        return self._closed(kept, count)

    def _sequence(self, features: Tensor, start: Tensor, memory: Tensor) -> tuple[Tensor, list[Tensor]]:
        inputs, count = self._opened(memory)
        steps = start.shape[1]
        time = torch.arange(-self.past, steps, device=start.device)  # of the memory and the sequence, [K - 1 + T]
        distance = time[self.past :, None] - time  # [T, K - 1 + T]
        episode = start.cumsum(1)  # [B, T]
        remembered = torch.where(time[: self.past] >= -count, 0, -1)  # an episode that no step is in, if not
        of_inputs = torch.cat([remembered, episode], 1)
        seen = (distance >= 0) & (distance <= self.past) & (episode.unsqueeze(2) == of_inputs.unsqueeze(1))
        return self._through(features, inputs, distance, seen)

    def _through(
        self, features: Tensor, inputs: list[Tensor], distance: Tensor, seen: Tensor
    ) -> tuple[Tensor, list[Tensor]]:
        """Outputs [B, T, W], and for each layer the inputs of the last K - 1 steps [B, K - 1, W].

        `distance` int64 [T, K - 1 + T] and `seen` bool [B or 1, T, K - 1 + T] relate steps to the memory and the steps.
        """
        outputs, kept = self.embed(features), []
        for layer, before in zip(self.layers, inputs, strict=True):
            known = torch.cat([before, outputs], 1)
            kept.append(known[:, known.shape[1] - self.past :])
            outputs = layer(outputs, known, distance, seen)
        return outputs, kept

    def _opened(self, memory: Tensor) -> tuple[list[Tensor], Tensor]:
        """The inputs of each layer [N, K - 1, W], and how many of them count [N, 1]."""
        inputs = memory[:, :-1].view(memory.shape[0], len(self.layers), self.past, self.out_features)
        return list(inputs.unbind(1)), memory[:, -1:]

    def _closed(self, kept: list[Tensor], count: Tensor) -> Tensor:
        """The inverse of `_opened`; what does not count becomes 0."""
        age = torch.arange(self.past, 0, -1, device=count.device)
        inputs = torch.stack(kept, 1).masked_fill((age > count)[:, None, :, None], 0.0)
        return torch.cat([inputs.flatten(1), count], 1)


class GatedLayer(nn.Module):
    """Attention and two fully connected layers, each normalised before, rectified after and gated (figure 1, right)."""

    def __init__(self, width: int, window: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_in, self.norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.key_value = nn.Linear(width, width), nn.Linear(width, 2 * width)
        self.mix = nn.Linear(width, width)
        self.distances = nn.Parameter(torch.zeros(heads, window))
        """Bias of attention, by distance."""
        self.hidden, self.out = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.gate_attention, self.gate_layers = GRUGate(width), GRUGate(width)

    def forward(self, inputs: Tensor, known: Tensor, distance: Tensor, seen: Tensor) -> Tensor:
        """Steps [B, T, W], the memory and them [B, S, W], int64 [T, S] and bool [B or 1, T, S] to [B, T, W]."""
        query = self._heads(self.query(self.norm_in(inputs)))
        key, value = (self._heads(part) for part in self.key_value(self.norm_in(known)).chunk(2, 2))
        bias = self.distances[:, distance.clamp(0, self.distances.shape[1] - 1)]  # [heads, T, S]
        bias = bias.masked_fill(~seen.unsqueeze(1), float("-inf"))  # every step sees itself
        attended = functional.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        outputs = self.gate_attention(inputs, torch.relu(self.mix(attended.transpose(1, 2).flatten(2))))
        layers = self.out(torch.relu(self.hidden(self.norm(outputs))))
        gated: Tensor = self.gate_layers(outputs, torch.relu(layers))
        return gated

    def _heads(self, part: Tensor) -> Tensor:
        """[B, S, W] to [B, heads, S, W / heads]."""
        return part.view(*part.shape[:2], self.heads, -1).transpose(1, 2)


class GRUGate(nn.Module):
    """Instead of the sum of a residual connection x + y, a GRU's step of x with the input y (section 3.2)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.of_output, self.of_input = nn.Linear(width, 3 * width), nn.Linear(width, 2 * width)
        self.candidate = nn.Linear(width, width)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """The stream x and the sublayer's output y, [..., W] each, to [..., W]."""
        reset, update, fresh = self.of_output(y).chunk(3, -1)
        of_reset, of_update = self.of_input(x).chunk(2, -1)
        reset, update = torch.sigmoid(reset + of_reset), torch.sigmoid(update + of_update - GATE_BIAS)
        return torch.lerp(x, torch.tanh(fresh + self.candidate(reset * x)), update)
