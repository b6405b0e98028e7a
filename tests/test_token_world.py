"""The causal transformer and the world of tokens: masks, the cache, losses by hand, places and draws."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from gymnast.networks.world_models.token_transformer import TokenTransformer
from gymnast.networks.world_models.token_world import ABSENT, BEGINS, FOLLOWS, TokenWorld, drawn, placed

K, A, C = 3, 2, 7


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def transformer(dropout: float = 0.0) -> TokenTransformer:
    made = TokenTransformer(16, layers=3, heads=2, dropout=dropout, generator=generator())
    for parameter in made.parameters():  # far from the first weights, so that attention matters
        parameter.data += 0.3 * torch.randn(parameter.shape, generator=generator(parameter.numel()))
    return made.eval()


def world(*, signs: bool = True, steps: int = 6) -> TokenWorld:
    made = TokenWorld(
        codes=C,
        places=K,
        action_size=A,
        steps=steps,
        width=16,
        layers=2,
        heads=2,
        dropout=0.0,
        signs=signs,
        generator=generator(),
    )
    for parameter in made.parameters():
        parameter.data += 0.3 * torch.randn(parameter.shape, generator=generator(parameter.numel() + 1))
    return made.eval()


def blocks(rows: int, steps: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Codes [B, T, K] and actions [B, T, A]."""
    codes = torch.randint(C, (rows, steps, K), generator=generator(seed))
    return codes, torch.randn((rows, steps, A), generator=generator(seed + 1))


def attention_by_hand(made: TokenTransformer, inputs: Tensor, group: list[int]) -> Tensor:
    """One row [L, W], token by token and head by head."""
    outputs = inputs
    for layer in made.layers:
        normed = layer.norm_in(outputs)
        query, key, value = layer.attention(normed).chunk(3, 1)
        mixed = []
        for token in range(len(inputs)):
            others = [other for other in range(token + 1) if group[other] == group[token]]
            heads = []
            for head in range(made.heads):
                part = slice(head * 8, head * 8 + 8)
                scores = torch.stack([query[token, part] @ key[other, part] / math.sqrt(8) for other in others])
                heads.append(sum(w * value[o, part] for w, o in zip(scores.softmax(0), others, strict=True)))
            mixed.append(torch.cat(heads))
        outputs = outputs + layer.mix(torch.stack(mixed))
        outputs = outputs + layer.out(functional.gelu(layer.hidden(layer.norm(outputs))))
    return made.norm(outputs)


def test_attention_by_hand() -> None:
    made, inputs = transformer(), torch.randn(1, 7, 16, generator=generator())
    group = [0, 0, 0, 1, 1, 1, 2]
    found = made(inputs, torch.tensor([group]))
    assert torch.allclose(found[0], attention_by_hand(made, inputs[0], group), atol=1e-5)


def test_a_later_token_never_changes_an_earlier_output() -> None:
    made, inputs = transformer(), torch.randn(2, 9, 16, generator=generator())
    group = torch.zeros((2, 9), dtype=torch.int64)
    before = made(inputs, group)
    for changed in range(9):
        other = inputs.clone()
        other[:, changed] += torch.randn(16, generator=generator(9))
        after = made(other, group)
        assert torch.equal(after[:, :changed], before[:, :changed])
        assert all(not torch.allclose(after[:, token], before[:, token]) for token in range(changed, 9))


def test_no_token_sees_another_group_at_any_index() -> None:
    made, inputs = transformer(), torch.randn(1, 8, 16, generator=generator())
    for first in range(1, 8):
        group = (torch.arange(8) >= first).long().unsqueeze(0)
        found = made(inputs, group)
        apart = made(inputs[:, first:], group[:, first:])
        assert torch.allclose(found[:, first:], apart, atol=1e-5)


@pytest.mark.parametrize("parts", [[1] * 8, [3, 5], [8], [4, 1, 2, 1]])
def test_the_cache_equals_the_full_forward(parts: list[int]) -> None:
    made, inputs = transformer(), torch.randn(3, 8, 16, generator=generator())
    group = torch.tensor([[0] * 8, [0, 0, 1, 1, 1, 1, 1, 1], [0, 0, 0, 0, 0, 0, 0, 1]])
    cache, found, first = made.empty(3, 10), [], 0
    for part in parts:
        found.append(made.extend(inputs[:, first : first + part], group[:, first : first + part], cache))
        first += part
    assert torch.allclose(torch.cat(found, 1), made(inputs, group), atol=1e-5)
    assert cache.length == 8


def test_dropout_works_in_training_only() -> None:
    made, inputs = transformer(0.5), torch.randn(2, 5, 16, generator=generator())
    group = torch.zeros((2, 5), dtype=torch.int64)
    assert torch.equal(made(inputs, group), made(inputs, group))
    made.train()
    assert not torch.equal(made(inputs, group), made(inputs, group))


def test_places_count_from_the_beginning_of_an_episode_or_of_a_row() -> None:
    kind = torch.tensor(
        [
            [FOLLOWS, FOLLOWS, BEGINS, FOLLOWS, FOLLOWS],
            [BEGINS, BEGINS, FOLLOWS, FOLLOWS, BEGINS],
            [ABSENT, ABSENT, FOLLOWS, FOLLOWS, FOLLOWS],
            [ABSENT, ABSENT, ABSENT, BEGINS, FOLLOWS],
        ]
    )
    place, group = placed(kind)
    assert place.tolist() == [[0, 1, 0, 1, 2], [0, 0, 1, 2, 0], [0, 1, 0, 1, 2], [0, 1, 2, 0, 1]]
    assert group.tolist() == [[1, 1, 2, 2, 2], [1, 2, 2, 2, 3], [0, 0, 1, 1, 1], [0, 0, 0, 1, 1]]


@pytest.mark.parametrize("begins", range(5))
def test_an_episode_is_predicted_without_the_one_before(begins: int) -> None:
    made = world()
    codes, action = blocks(2, 5)
    kind = torch.full((2, 5), FOLLOWS)
    kind[:, begins] = BEGINS
    found = made(codes, action, kind)
    apart = made(codes[:, begins:], action[:, begins:], kind[:, begins:])
    for part, alone in zip(found, apart, strict=True):
        assert torch.allclose(part[:, begins:], alone, atol=1e-5)
    other = action.clone()
    other[:, begins] += 1.0  # what led to an episode's beginning means nothing
    assert torch.equal(made(codes, other, kind).codes[:, begins:], found.codes[:, begins:])


def test_absent_blocks_change_nothing() -> None:
    made = world()
    codes, action = blocks(2, 5)
    kind = torch.tensor([[ABSENT, ABSENT, BEGINS, FOLLOWS, FOLLOWS], [ABSENT, ABSENT, FOLLOWS, FOLLOWS, FOLLOWS]])
    found = made(codes, action, kind)
    apart = made(codes[:, 2:], action[:, 2:], kind[:, 2:])
    assert torch.allclose(found.codes[:, 2:], apart.codes, atol=1e-5)


@pytest.mark.parametrize("signs", [True, False])
def test_losses_by_hand(signs: bool) -> None:
    made = world(signs=signs)
    codes, action = blocks(2, 4)
    kind = torch.tensor([[FOLLOWS, FOLLOWS, BEGINS, FOLLOWS], [BEGINS, FOLLOWS, FOLLOWS, FOLLOWS]])
    reward = torch.tensor([[9.0, -2.5, 9.0, 0.0], [9.0, 3.0, 0.5, -1.0]])
    terminated = torch.tensor([[0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]])
    found = made(codes, action, kind)
    of_codes, of_reward, of_end = [], [], []
    for row, step in [(0, 1), (0, 2), (0, 3), (1, 0), (1, 1), (1, 2), (1, 3)]:
        for number in range(K):
            of_codes.append(-found.codes[row, step, number].log_softmax(0)[codes[row, step, number]])
        if kind[row, step] == BEGINS:
            continue
        logits, number = found.reward[row, step].log_softmax(0), float(reward[row, step])
        if signs:
            of_reward.append(-logits[1 + (number > 0) - (number < 0)])
        else:
            of_reward.append(-(made.two_hot.encode(torch.tensor(number)) * logits).sum())
        p = found.ending[row, step].sigmoid()
        of_end.append(-(p if terminated[row, step] else 1 - p).log())
    wanted = [torch.stack(part).mean().item() for part in (of_codes, of_reward, of_end)]
    losses = made.losses(codes, action, kind, reward, terminated)
    assert [loss.item() for loss in losses] == pytest.approx(wanted, rel=1e-4)


def test_each_code_is_predicted_from_those_before_it() -> None:
    made = world()
    codes, action = blocks(1, 2)
    kind = torch.tensor([[BEGINS, FOLLOWS]])
    before = made(codes, action, kind)
    for number in range(K):
        other = codes.clone()
        other[:, 1, number] = (other[:, 1, number] + 1) % C
        after = made(other, action, kind)
        assert torch.equal(after.reward, before.reward)
        assert torch.equal(after.codes[:, 1, : number + 1], before.codes[:, 1, : number + 1])
        if number + 1 < K:
            assert not torch.allclose(after.codes[:, 1, number + 1], before.codes[:, 1, number + 1])
    after = made(codes, action + 1.0, kind)
    assert not torch.allclose(after.reward[:, 1], before.reward[:, 1])
    assert not torch.allclose(after.codes[:, 1, 0], before.codes[:, 1, 0])


@pytest.mark.parametrize("known", [1, 3])
def test_the_most_probable_dream_is_that_of_the_full_forward(known: int) -> None:
    """Playing with the cache gives, code by code, what the forward pass over everything so far predicts."""
    made = world()
    codes, action = blocks(4, 6)
    kind = torch.full((4, 6), FOLLOWS)
    kind[0, 0] = kind[1, known - 1] = BEGINS
    if known > 1:
        kind[2, :2] = ABSENT
    codes, steps = codes.clone(), 6 - known
    playing = made.begin(codes[:, :known], action[:, :known], kind[:, :known], steps=steps)
    for step in range(known, 6):
        arrived = made.play(playing, action[:, step], generator(), temperature=0.0)
        codes[:, step] = arrived.codes
        found = made(codes[:, : step + 1], action[:, : step + 1], kind[:, : step + 1])
        assert torch.equal(found.codes[:, -1].argmax(-1), arrived.codes)
        assert torch.equal(found.reward[:, -1].argmax(-1) - 1.0, arrived.reward)
        assert torch.equal(found.ending[:, -1] > 0, arrived.ended)


def test_new_episodes_begin_with_the_beginning() -> None:
    made = world()
    arrived = made.play(made.begin_new(2, steps=1), None, generator(), temperature=0.0)
    action = torch.zeros(2, 1, A)
    found = made(arrived.codes.unsqueeze(1), action, torch.full((2, 1), BEGINS))
    assert torch.equal(found.codes[:, 0].argmax(-1), arrived.codes)


def test_draws_follow_the_probabilities_of_a_temperature() -> None:
    logits = torch.tensor([0.5, -1.0, 2.0])
    for temperature in (0.5, 1.0, 2.0):
        found = drawn(logits.expand(100_000, 3), generator(), temperature)
        shares = torch.bincount(found, minlength=3) / 100_000
        assert torch.allclose(shares, (logits / temperature).softmax(0), atol=0.01)
    assert (drawn(logits.expand(10, 3), generator(), 0.0) == 2).all()
