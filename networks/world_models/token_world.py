"""A transformer that predicts an environment's observations as codes, and its rewards and ends (Micheli et al. 2023).

Letters: B rows of T time steps; K codes of an observation; A numbers of an action. A time step is a block of K + 1
tokens: what led to the observation, which is the action before it or the beginning of an episode, and its codes. The
first token predicts reward, end and first code, each code the next one. (The paper has the action after the codes. In
this order a new episode's first observation is predicted too.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from gymnast.networks.world_models.symlog import BINS, TwoHot
from gymnast.networks.world_models.token_transformer import Cache, TokenTransformer, initialise

ABSENT, BEGINS, FOLLOWS = 0, 1, 2
"""Kinds of time steps: none, the first of an episode, and any other."""
SIGNS = 3


class Predicted(NamedTuple):
    """What the tokens of B x T blocks predict, as logits."""

    codes: Tensor
    """[B, T, K, C]."""
    reward: Tensor
    """[B, T, R], of the reward that comes with the observation."""
    ending: Tensor
    """[B, T], of the observation being of a terminal state."""


@dataclass(slots=True)
class Playing:
    """B imagined episodes in progress."""

    cache: Cache
    pending: Tensor
    """[B, P, W], tokens that the cache does not have yet."""
    place: Tensor
    """int64 [B], the number of the next block in its row's context."""
    group: Tensor
    """int64 [B], the episode in its row's context."""


class Arrived(NamedTuple):
    """One imagined time step of B rows."""

    codes: Tensor
    """int64 [B, K]."""
    reward: Tensor
    """[B]."""
    ended: Tensor
    """bool [B]."""


class TokenWorld(nn.Module):
    """Predicts B rows of up to `steps` blocks; places are counted from the first block of the episode in its row."""

    def __init__(
        self,
        *,
        codes: int,
        places: int,
        action_size: int,
        steps: int,
        width: int,
        layers: int,
        heads: int,
        dropout: float,
        signs: bool,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.places, self.steps, self.signs = places, steps, signs
        self.code = nn.Embedding(codes, width)
        self.action = nn.Linear(action_size, width)
        self.beginning = nn.Embedding(1, width)
        self.position = nn.Embedding(steps * (places + 1), width)
        self.transformer = TokenTransformer(width, layers=layers, heads=heads, dropout=dropout, generator=generator)
        self.next_code, self.reward, self.ending = (
            nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, outputs))
            for outputs in (codes, SIGNS if signs else BINS, 1)
        )
        self.two_hot = TwoHot()
        for part in (self.code, self.action, self.beginning, self.position, self.next_code, self.reward, self.ending):
            initialise(part, generator)
        last = self.reward[-1]
        assert isinstance(last, nn.Linear)
        nn.init.zeros_(last.weight)  # two-hot bins are as far as 4.8e8 from 0: at first all weigh the same

    # Observe.

    def forward(self, codes: Tensor, action: Tensor, kind: Tensor) -> Predicted:
        """Predictions of int64 [B, T, K], the actions before them [B, T, A] and their kinds int64 [B, T].

        Blocks that are absent come first.
        """
        rows, steps, _ = codes.shape
        place, group = placed(kind)
        outputs = self.transformer(self._blocks(codes, action, kind, place), self._each_token(group))
        blocks = outputs.view(rows, steps, self.places + 1, -1)
        first = blocks[:, :, 0]
        return Predicted(self.next_code(blocks[:, :, :-1]), self.reward(first), self.ending(first).squeeze(-1))

    def losses(self, codes: Tensor, action: Tensor, kind: Tensor, reward: Tensor, terminated: Tensor) -> list[Tensor]:
        """Cross-entropies [] of codes, rewards and ends of B rows, as `forward` takes them; rewards and ends [B, T].

        A row's first block counts only if it begins an episode, and of those that do only the codes.
        """
        found = self(codes, action, kind)
        known = kind == FOLLOWS
        known[:, 0] = False
        counted = (known | (kind == BEGINS)).unsqueeze(2)
        of_codes = functional.cross_entropy(found.codes.flatten(0, 2), codes.flatten(), reduction="none")
        if self.signs:
            sign = reward.sign().long() + 1
            of_reward = functional.cross_entropy(found.reward.flatten(0, 1), sign.flatten(), reduction="none")
        else:
            of_reward = self.two_hot.loss(found.reward.log_softmax(-1), reward).flatten()
        of_end = functional.binary_cross_entropy_with_logits(found.ending, terminated, reduction="none")
        return [_mean(of_codes.view_as(codes), counted), _mean(of_reward.view_as(reward), known), _mean(of_end, known)]

    # Imagine.

    @torch.no_grad()
    def begin(self, codes: Tensor, action: Tensor, kind: Tensor, *, steps: int) -> Playing:
        """Episodes that go on from blocks, as `forward` takes them, for up to `steps` more.

        The longest context of a row and these must fit into the world's steps.
        """
        rows, known, _ = codes.shape
        place, group = placed(kind)
        cache = self.transformer.empty(rows, (known + steps) * (self.places + 1))
        blocks = self._blocks(codes, action, kind, place)
        self.transformer.extend(blocks[:, :-1], self._each_token(group)[:, :-1], cache)
        return Playing(cache, blocks[:, -1:], place[:, -1] + 1, group[:, -1])

    def begin_new(self, rows: int, *, steps: int) -> Playing:
        """New episodes of up to `steps` blocks."""
        device = self.code.weight.device
        cache = self.transformer.empty(rows, steps * (self.places + 1))
        none = torch.zeros(rows, dtype=torch.int64, device=device)
        return Playing(cache, self.code.weight.new_zeros((rows, 0, self.transformer.width)), none, none)

    @torch.no_grad()
    def play(
        self, playing: Playing, action: Tensor | None, generator: torch.Generator, *, temperature: float = 1.0
    ) -> Arrived:
        """The next block after actions [B, A], or the first one of new episodes (None). `playing` goes on.

        Codes, reward classes and ends are drawn, with logits over `temperature`; at 0 they are the most probable ones.
        """
        rows = len(playing.place)
        first = self.beginning.weight.expand(rows, -1) if action is None else self.action(action)
        inputs = (first + self._position(playing.place, 0)).unsqueeze(1)
        output = self._extend(torch.cat([playing.pending, inputs], 1), playing)
        logits = self.reward(output)
        reward = (
            drawn(logits, generator, temperature) - 1.0 if self.signs else self.two_hot.mean(logits.log_softmax(-1))
        )
        ending = functional.pad(self.ending(output), (1, 0))  # [B, 2]
        ended = drawn(ending, generator, temperature) == 1
        codes = []
        for number in range(self.places):
            codes.append(drawn(self.next_code(output), generator, temperature))
            inputs = (self.code(codes[-1]) + self._position(playing.place, number + 1)).unsqueeze(1)
            if number + 1 < self.places:
                output = self._extend(inputs, playing)
        playing.pending, playing.place = inputs, playing.place + 1
        return Arrived(torch.stack(codes, 1), reward, ended)

    def _extend(self, inputs: Tensor, playing: Playing) -> Tensor:
        """The last output [B, W] of further tokens [B, L, W]."""
        group = playing.group.unsqueeze(1).expand(-1, inputs.shape[1])
        return self.transformer.extend(inputs, group, playing.cache)[:, -1]

    def _blocks(self, codes: Tensor, action: Tensor, kind: Tensor, place: Tensor) -> Tensor:
        """Tokens [B, T * (K + 1), W] with their positions."""
        first = torch.where((kind == BEGINS).unsqueeze(2), self.beginning.weight[0], self.action(action))
        tokens = torch.cat([first.unsqueeze(2), self.code(codes)], 2)
        number = place.unsqueeze(2) * (self.places + 1) + torch.arange(self.places + 1, device=place.device)
        blocks: Tensor = (tokens + self.position(number)).flatten(1, 2)
        return blocks

    def _position(self, place: Tensor, number: int) -> Tensor:
        """Vectors [B, W] of the position of a block's token of this number."""
        vectors: Tensor = self.position(place * (self.places + 1) + number)
        return vectors

    def _each_token(self, group: Tensor) -> Tensor:
        """Numbers [B, T] of blocks for each of their tokens, [B, T * (K + 1)]."""
        return group.repeat_interleave(self.places + 1, 1)


def placed(kind: Tensor) -> tuple[Tensor, Tensor]:
    """The place of each block in its episode, within its row, and the number of that episode; of int64 [B, T] each.

    Absent blocks, which come first, are an episode of their own.
    """
    before = functional.pad(kind[:, :-1], (1, 0), value=ABSENT)
    first = (kind == BEGINS) | ((kind != ABSENT) & (before == ABSENT))
    time = torch.arange(kind.shape[1], device=kind.device).expand_as(kind)
    since = torch.where(first, time, 0).cummax(1).values
    return time - since, first.long().cumsum(1)


def drawn(logits: Tensor, generator: torch.Generator, temperature: float) -> Tensor:
    """Choices int64 [...] of logits [..., C] over a temperature; at 0 the most probable ones."""
    if temperature == 0.0:
        return logits.argmax(-1)
    noise = torch.empty_like(logits).exponential_(generator=generator)
    return (logits / temperature - noise.log()).argmax(-1)  # Gumbel's way to draw from a softmax


def _mean(loss: Tensor, counted: Tensor) -> Tensor:
    """The mean [] of the losses [...] that count, bool of a shape that expands to theirs."""
    weight = counted.expand_as(loss).float()
    return (loss * weight).sum() / weight.sum().clamp(min=1.0)
