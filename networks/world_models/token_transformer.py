"""A causal transformer over vectors, with a cache of keys and values for going on token by token."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

STD = 0.02
"""Standard deviation of the first weights (Radford et al. 2018)."""
WIDER = 4
"""Units of a layer's hidden part, in multiples of the width."""


@dataclass(slots=True)
class Cache:
    """Keys and values of the tokens so far, in memory for all that may come."""

    keys: Tensor
    """[layers, B, heads, S, D]."""
    values: Tensor
    """[layers, B, heads, S, D]."""
    group: Tensor
    """int64 [B, S], the group of each token: it sees those of its own."""
    length: int
    """Tokens so far."""


class TokenTransformer(nn.Module):
    """Layers of masked attention, normalised before each part (Xiong et al. 2020); [B, L, W] to [B, L, W].

    A token sees itself and the earlier tokens of its group, for instance of its episode. Dropout works in training mode
    only.
    """

    def __init__(self, width: int, *, layers: int, heads: int, dropout: float, generator: torch.Generator) -> None:
        super().__init__()
        self.width, self.heads = width, heads
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList(Layer(width, heads, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        initialise(self, generator)

    def forward(self, inputs: Tensor, group: Tensor) -> Tensor:
        """Outputs [B, L, W] of tokens [B, L, W] and their groups int64 [B, L]."""
        seen = _seen(group, group, 0)
        outputs = self.dropout(inputs)
        for layer in self.layers:
            outputs = layer(outputs, seen)
        normed: Tensor = self.norm(outputs)
        return normed

    def empty(self, rows: int, capacity: int) -> Cache:
        """A cache without tokens, with memory for `capacity` of them."""
        like = self.norm.weight
        shape = (len(self.layers), rows, self.heads, capacity, self.width // self.heads)
        group = torch.zeros((rows, capacity), dtype=torch.int64, device=like.device)
        return Cache(like.new_zeros(shape), like.new_zeros(shape), group, 0)

    def extend(self, inputs: Tensor, group: Tensor, cache: Cache) -> Tensor:
        """Outputs [B, L, W] of the L tokens that follow those of a cache, which then holds them too.

        It has no gradient. The outputs are those of `forward` with all tokens, in evaluation mode.
        """
        first, end = cache.length, cache.length + inputs.shape[1]
        cache.group[:, first:end] = group
        seen = _seen(group, cache.group[:, :end], first)
        outputs = self.dropout(inputs)
        for number, layer in enumerate(self.layers):
            outputs = layer(outputs, seen, cache.keys[number], cache.values[number], first)
        cache.length = end
        normed: Tensor = self.norm(outputs)
        return normed


class Layer(nn.Module):
    """Attention and two fully connected layers, each added to its input."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm_in, self.norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention, self.mix = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.hidden, self.out = nn.Linear(width, WIDER * width), nn.Linear(WIDER * width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        inputs: Tensor,
        seen: Tensor,
        keys: Tensor | None = None,
        values: Tensor | None = None,
        first: int = 0,
    ) -> Tensor:
        """Tokens [B, L, W], of which the l-th sees what `seen` bool [B, 1, L, S] marks, to [B, L, W].

        Keys and values [B, heads, >= S, D] of the tokens before the `first` one are read; those of the L are added.
        """
        rows, length, width = inputs.shape
        parts = self.attention(self.norm_in(inputs)).view(rows, length, 3, self.heads, width // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4)  # [B, heads, L, D]
        if keys is not None and values is not None:
            keys[:, :, first : first + length], values[:, :, first : first + length] = key, value
            key, value = keys[:, :, : first + length], values[:, :, : first + length]
        dropped = self.dropout.p if self.training else 0.0
        attended = functional.scaled_dot_product_attention(query, key, value, attn_mask=seen, dropout_p=dropped)
        outputs = inputs + self.dropout(self.mix(attended.transpose(1, 2).flatten(2)))
        added: Tensor = outputs + self.dropout(self.out(functional.gelu(self.hidden(self.norm(outputs)))))
        return added


def _seen(group: Tensor, known: Tensor, first: int) -> Tensor:
    """Whether each of L tokens, from number `first` on, sees each of S: bool [B, 1, L, S] of int64 [B, L], [B, S]."""
    place = torch.arange(known.shape[1], device=group.device)
    earlier = place <= place[first:, None]
    return (earlier & (group.unsqueeze(2) == known.unsqueeze(1))).unsqueeze(1)


@torch.no_grad()
def initialise(module: nn.Module, generator: torch.Generator) -> None:
    """Weights and learned vectors from a normal distribution of deviation 0.02; biases 0."""
    for part in module.modules():
        if isinstance(part, nn.Linear | nn.Embedding):
            part.weight.copy_(torch.randn(part.weight.shape, generator=generator) * STD)
            if isinstance(part, nn.Linear) and part.bias is not None:
                part.bias.zero_()
