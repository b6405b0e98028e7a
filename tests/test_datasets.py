"""Data sets: labelled examples, recorded episodes read from and written for Minari, splits, and damaged files."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import h5py
import minari
import numpy as np
import pytest
import torch
from gymnasium import spaces
from minari.data_collector.episode_buffer import EpisodeBuffer

from gymnast.replay.datasets import episodes, files, writer
from gymnast.replay.datasets.episodes import EpisodeData, local_datasets, read_dataset
from gymnast.replay.datasets.labelled import LABELLED, labelled
from gymnast.replay.datasets.splits import by_episode, by_example
from gymnast.replay.datasets.writer import DatasetWriter

LENGTHS = (5, 1, 7)
LOSSLESS = pytest.mark.skipif(sys.version_info < (3, 11), reason="Minari 0.5.3 knows only images stored as JPEG")
IMAGE = spaces.Box(0, 255, (40, 36), np.uint8)
DICT = spaces.Dict({"at": spaces.Box(-1, 1, (3,), np.float32), "deep": spaces.Dict({"n": spaces.Discrete(5, start=2)})})
TUPLE = spaces.Tuple((spaces.Box(-1, 1, (2,), np.float64), spaces.MultiDiscrete([3, 4])))


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "sets"))
    return tmp_path / "sets"


def sampled(space: gym.Space[Any], count: int, seed: int) -> list[Any]:
    space.seed(seed)
    return [space.sample() for _ in range(count)]


def columns(space: gym.Space[Any], values: list[Any]) -> Any:
    """Samples as Minari's buffers hold them: lists in the nesting of the space."""
    if isinstance(space, spaces.Dict):
        return {key: columns(part, [value[key] for value in values]) for key, part in space.spaces.items()}
    if isinstance(space, spaces.Tuple):
        return tuple(columns(part, [value[i] for value in values]) for i, part in enumerate(space.spaces))
    return values


def minaris(name: str, observed: gym.Space[Any], acted: gym.Space[Any], **options: Any) -> list[EpisodeBuffer]:
    """Write a data set with Minari itself; the episodes as it was given them."""
    buffers = []
    for number, length in enumerate(LENGTHS):
        ends = [False] * (length - 1) + [True]
        cut = number == 1
        buffers.append(
            EpisodeBuffer(
                id=number,
                seed=100 + number,
                observations=columns(observed, sampled(observed, length + 1, number)),
                actions=columns(acted, sampled(acted, length, 50 + number)),
                rewards=[float(step + number) for step in range(length)],
                terminations=[end and not cut for end in ends],
                truncations=[end and cut for end in ends],
                infos={},
            )
        )
    with pytest.warns(UserWarning, match="None"):
        minari.create_dataset_from_buffers(
            name, buffers, observation_space=observed, action_space=acted, description="d", **options
        )
    return buffers


def same(ours: Any, theirs: Any) -> None:
    """Equal values in equal nesting; a Tuple is a dict here."""
    if isinstance(ours, dict):
        parts = theirs if isinstance(theirs, dict) else {str(i): part for i, part in enumerate(theirs)}
        assert list(ours) == list(parts)
        for key, part in parts.items():
            same(ours[key], part)
        return
    theirs = np.asarray(theirs)
    dtype = np.float32 if theirs.dtype == np.float64 else theirs.dtype
    assert ours.numpy().dtype == dtype
    np.testing.assert_array_equal(ours.numpy(), theirs.astype(dtype))


def written(name: str, space: gym.Space[Any], *, lengths: tuple[int, ...] = LENGTHS, stack: int = 1) -> list[Any]:
    """Write episodes of one row with our writer; the frames of each episode."""
    frame = space if stack == 1 else spaces.Box(0, 255, space.shape[1:], np.uint8)  # type: ignore[index]
    drawn = [sampled(frame, length + 1, number) for number, length in enumerate(lengths)]
    with DatasetWriter(
        name, observation_space=space, action_space=spaces.Discrete(3), num_envs=1, frame_stack=stack
    ) as target:
        for number, frames in enumerate(drawn):
            stacks = [window(frames, step, stack) for step in range(len(frames))]
            for step in range(len(frames) - 1):
                last = torch.tensor([step == len(frames) - 2])
                target.add(
                    stacks[step],
                    torch.tensor([step % 3]),
                    reward=torch.tensor([float(step)]),
                    terminated=last,
                    truncated=torch.zeros(1, dtype=torch.bool),
                    next_obs=stacks[step + 1],
                    rows=torch.tensor([0]),
                    seeds=[number],
                )
        target.finish({})
    return drawn


def window(frames: list[Any], step: int, stack: int) -> Any:
    """The observation [1, ...] at a step, built naively; black before the episode."""
    if stack == 1:
        return batch(frames[step])
    shown = [frames[at] if at >= 0 else np.zeros_like(frames[0]) for at in range(step - stack + 1, step + 1)]
    return torch.from_numpy(np.stack(shown)[None])


def batch(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: batch(part) for key, part in value.items()}
    if isinstance(value, tuple):
        return {str(i): batch(part) for i, part in enumerate(value)}
    array = np.asarray(value)[None]
    return torch.from_numpy(array.astype(np.float32) if array.dtype == np.float64 else array)


def everything(data: EpisodeData) -> torch.Tensor:
    return torch.arange(len(data))


# Labelled examples


@pytest.mark.parametrize("name", LABELLED)
def test_every_labelled_set_fits_its_space(name: str) -> None:
    data = labelled(name, seed=0)
    assert data.space.contains(data.inputs[0].numpy())
    assert data.inputs.numpy().dtype == data.space.dtype
    assert len(data.inputs) == len(data.targets) == len(data)
    asked = data.targets[data.targets != -100]
    assert set(asked.tolist()) <= set(range(len(data.classes)))
    for split in (data.splits or {}).values():
        assert len(split)
        assert int(split.max()) < len(data)


def test_digits_are_scikit_learns() -> None:
    images, rows = labelled("digits", seed=0), labelled("digits-rows", seed=0)
    assert len(images) == 1797
    assert images.inputs.shape == (1797, 8, 8, 1)
    assert torch.equal((images.inputs[..., 0].float() * 16 / 255).round(), rows.inputs * 16)
    assert rows.inputs[0, 0].tolist() == [0, 0, 5 / 16, 13 / 16, 9 / 16, 1 / 16, 0, 0]
    assert images.targets[:3].tolist() == [0, 1, 2]
    assert images.splits is None


def test_xor() -> None:
    data = labelled("xor", seed=0)
    assert [int(a) ^ int(b) for a, b in data.inputs.tolist()] == data.targets.tolist()


def test_spirals_are_the_papers() -> None:
    data = labelled("spirals", seed=0)
    assert data.splits is not None
    train, between = data.splits["train"], data.splits["validation"]
    assert len(train) == len(between) == 194
    assert data.inputs[0].tolist() == pytest.approx([0.0, 6.5])
    assert data.inputs[8].tolist() == pytest.approx([6.5 * 96 / 104, 0.0], abs=1e-5)  # a quarter of a turn later
    assert torch.equal(data.inputs[97:194], -data.inputs[:97])
    assert data.targets[train].sum() == 97
    middle = (data.inputs[0] + data.inputs[1]).norm() / 2
    assert float(data.inputs[194].norm()) == pytest.approx(float(middle), rel=0.02)


def test_anbn_asks_only_what_is_determined() -> None:
    data = labelled("anbn", seed=0)
    symbols = data.inputs[1].argmax(1)[:5].tolist()  # n = 2
    assert symbols == [2, 0, 0, 1, 1]
    assert data.targets[1][:6].tolist() == [0, -100, -100, 1, 2, -100]
    assert data.inputs[1][5:].sum() == 0
    assert data.splits is not None
    assert data.splits["train"].tolist() == list(range(10))
    n = (data.inputs[..., 0].sum(1)).long()
    assert n[data.splits["test"]].tolist() == list(range(11, 21))


def test_copy_and_reverse() -> None:
    forward, backward = labelled("copy", seed=3), labelled("reverse", seed=3)
    assert torch.equal(forward.inputs, backward.inputs)
    shown = forward.inputs.argmax(2)
    assert torch.equal(forward.targets[:, 11:], shown[:, :10])
    assert torch.equal(backward.targets[:, 11:], shown[:, :10].flip(1))
    assert shown[0, 10:].tolist() == [8] + [9] * 10
    assert not torch.equal(forward.inputs, labelled("copy", seed=4).inputs)


def test_unknown_labelled_set_names_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"unknown data set 'digit'.*did you mean digits\?"):
        labelled("digit", seed=0)


# Splits


def test_examples_are_split_by_the_seed() -> None:
    training, held_out = by_example(10, validation=0.2, seed=1)
    assert len(held_out) == 2
    assert sorted([*training.tolist(), *held_out.tolist()]) == list(range(10))
    assert torch.equal(held_out, by_example(10, validation=0.2, seed=1)[1])
    assert len({tuple(by_example(10, validation=0.2, seed=seed)[1].tolist()) for seed in range(8)}) > 1


def test_episodes_are_split_whole() -> None:
    written("aa/b-v0", spaces.Box(0, 1, (2,), np.float32))
    data = read_dataset("aa/b-v0")
    training, held_out = by_episode(data, validation=0.34, seed=0)
    ours, theirs = set(data.episode[training].tolist()), set(data.episode[held_out].tolist())
    assert len(theirs) == 1
    assert not ours & theirs
    assert len(training) + len(held_out) == sum(LENGTHS)


@pytest.mark.parametrize(
    ("n", "validation", "message"),
    [(3, 0.1, "leaves none for validation"), (3, 0.9, "leaves none for training"), (3, 1.0, "between 0 and 1")],
)
def test_empty_split(n: int, validation: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        by_example(n, validation=validation, seed=0)


# What Minari wrote is read


@pytest.mark.parametrize(
    ("observed", "acted", "options"),
    [
        (spaces.Box(-1, 1, (3,), np.float64), spaces.Box(-1, 1, (2,), np.float32), {}),
        (spaces.Discrete(7, start=1), spaces.MultiDiscrete([2, 3]), {}),
        (DICT, spaces.Discrete(4, start=1), {}),
        (TUPLE, spaces.Discrete(4), {}),
        pytest.param(IMAGE, spaces.Discrete(4), {"jpeg_encoding": False}, marks=LOSSLESS),
    ],
)
@pytest.mark.parametrize("in_memory", [True, False])
def test_a_set_of_minari_is_read(
    observed: gym.Space[Any],
    acted: gym.Space[Any],
    options: dict[str, Any],
    in_memory: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    buffers = minaris("own/set-v3", observed, acted, **options)
    if not in_memory:
        monkeypatch.setattr(episodes, "IN_MEMORY", 0)
        with pytest.warns(episodes.DatasetWarning, match="once"):
            data = read_dataset("own/set-v3")
        data = read_dataset("own/set-v3")  # a second time without a copy
    else:
        data = read_dataset("own/set-v3")
    assert (data.observation_space, data.action_space) == (observed, acted)
    assert data.starts.tolist() == [0, 5, 6, 13]
    assert data.seeds == (100, 101, 102)
    assert data.terminated.nonzero().flatten().tolist() == [4, 12]
    assert data.truncated.nonzero().flatten().tolist() == [5]
    for number, buffer in enumerate(buffers):
        index = torch.arange(data.starts[number], data.starts[number + 1])
        parts = minari.load_dataset("own/set-v3")[number]
        same(data.observations(index), cut(parts.observations, slice(None, -1)))
        same(data.next_observations(index), cut(parts.observations, slice(1, None)))
        same(data.actions(index), buffer.actions)
        assert data.rewards[index].tolist() == buffer.rewards


def cut(value: Any, part: slice) -> Any:
    if isinstance(value, dict):
        return {key: cut(item, part) for key, item in value.items()}
    if isinstance(value, tuple):
        return tuple(cut(item, part) for item in value)
    return value[part]


def test_jpeg_images_are_read_as_minari_reads_them() -> None:
    minaris("own/jpeg-v0", IMAGE, spaces.Discrete(4))
    data = read_dataset("own/jpeg-v0")
    theirs = minari.load_dataset("own/jpeg-v0")[2].observations
    assert torch.equal(data.observations(torch.arange(6, 13)), torch.from_numpy(theirs[:-1]))


# What we write Minari reads


@pytest.mark.parametrize(
    "space",
    [
        spaces.Box(-1, 1, (3,), np.float32),
        DICT,
        TUPLE,
        spaces.Discrete(9),
        spaces.Box(0, 255, (12, 12, 3), np.uint8),
        pytest.param(IMAGE, marks=LOSSLESS),
    ],
)
@pytest.mark.parametrize("held", [writer.HELD, 64])
def test_a_set_of_ours_is_read_by_minari(space: gym.Space[Any], held: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "HELD", held)  # with 64 bytes most values pass through a file
    drawn = written("ours/set-v0", space)
    theirs, data = minari.load_dataset("ours/set-v0"), read_dataset("ours/set-v0")
    assert (theirs.total_episodes, theirs.total_steps) == (3, 13)
    assert theirs.observation_space == data.observation_space == space
    assert [episode.id for episode in theirs.iterate_episodes()] == [0, 1, 2]
    for number, (episode, frames) in enumerate(zip(theirs.iterate_episodes(), drawn, strict=True)):
        length = LENGTHS[number]
        assert "actions" in repr(episode)
        assert episode.rewards.tolist() == list(range(length))
        assert episode.terminations.tolist() == [False] * (length - 1) + [True]
        index = torch.arange(data.starts[number], data.starts[number + 1])
        same(data.observations(index), cut(episode.observations, slice(None, -1)))
        same(data.next_observations(index), cut(episode.observations, slice(1, None)))
        for step in range(length):
            expected = batch(frames[step])
            same(data.observations(index[step : step + 1]), cut_numpy(expected))
    assert list(minari.list_local_datasets()) == local_datasets() == ["ours/set-v0"]


def cut_numpy(value: Any) -> Any:
    return {key: cut_numpy(item) for key, item in value.items()} if isinstance(value, dict) else value.numpy()


@pytest.mark.parametrize("shape", [(4, 6, 5), pytest.param((3, 40, 36), marks=LOSSLESS), (2, 6, 5, 3)])
@pytest.mark.parametrize("in_memory", [True, False])
def test_frames_are_stored_once_and_read_as_stacks(
    shape: tuple[int, ...], in_memory: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not in_memory:
        monkeypatch.setattr(episodes, "IN_MEMORY", 0)
    space, stack = spaces.Box(0, 255, shape, np.uint8), shape[0]
    drawn = written("ours/stacks-v0", space, stack=stack)
    data = read_dataset("ours/stacks-v0")
    assert data.observation_space == space
    assert minari.load_dataset("ours/stacks-v0")[2].observations.shape == (8, *shape[1:])
    naive = [window(frames, step, stack) for frames in drawn for step in range(len(frames) - 1)]
    naive_next = [window(frames, step + 1, stack) for frames in drawn for step in range(len(frames) - 1)]
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(0))
    assert torch.equal(data.observations(order), torch.cat(naive)[order])
    assert torch.equal(data.next_observations(order), torch.cat(naive_next)[order])
    out = data.observations(order)
    assert data.observations(order.flip(0), out=out) is out
    assert torch.equal(out, torch.cat(naive)[order.flip(0)])


def test_stacks_that_begin_with_the_first_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    space = spaces.Box(0, 255, (3, 4, 4), np.uint8)
    frames = torch.from_numpy(np.random.default_rng(0).integers(1, 255, (3, 4, 4), dtype=np.uint8))
    stacks = [frames[[0, 0, 0]][None], frames[[0, 0, 1]][None], frames[[0, 1, 2]][None]]
    with DatasetWriter(
        "aa/first-v0", observation_space=space, action_space=spaces.Discrete(2), num_envs=1, frame_stack=3
    ) as target:
        step(target, stacks[0], stacks[1])
        step(target, stacks[1], stacks[2], end=True)
        target.finish({})
    for limit in (episodes.IN_MEMORY, 0):
        monkeypatch.setattr(episodes, "IN_MEMORY", limit)
        data = read_dataset("aa/first-v0")
        assert torch.equal(data.observations(torch.tensor([0, 1])), torch.cat(stacks[:2]))
        assert torch.equal(data.next_observations(torch.tensor([0, 1])), torch.cat(stacks[1:]))


def step(target: DatasetWriter, obs: Any, next_obs: Any, *, end: bool = False) -> None:
    no = torch.zeros(1, dtype=torch.bool)
    target.add(
        obs,
        torch.zeros(1, dtype=torch.int64),
        reward=torch.ones(1),
        terminated=no | end,
        truncated=no,
        next_obs=next_obs,
        rows=torch.tensor([0]),
        seeds=[None],
    )


def test_stacks_with_frames_of_another_episode_are_refused() -> None:
    space = spaces.Box(0, 255, (3, 4, 4), np.uint8)
    frames = torch.arange(1, 1 + 4 * 16).to(torch.uint8).reshape(4, 4, 4)
    with DatasetWriter(
        "aa/bad-v0", observation_space=space, action_space=spaces.Discrete(2), num_envs=1, frame_stack=3
    ) as target:
        with pytest.raises(ValueError, match="set frame_stack 1"):
            step(target, frames[None, :3], frames[None, 1:])
        with pytest.raises(ValueError, match="newest last"):
            step(target, frames[None, :3], frames[None, :3].flip(1))
    assert local_datasets() == []


def test_a_cut_episode_is_truncated() -> None:
    with DatasetWriter(
        "aa/cut-v0", observation_space=spaces.Discrete(9), action_space=spaces.Discrete(2), num_envs=1
    ) as target:
        step(target, torch.tensor([3]), torch.tensor([4]))
        step(target, torch.tensor([4]), torch.tensor([5]))
        assert target.cut(0)
        assert not target.cut(0)
        target.finish({})
    data = read_dataset("aa/cut-v0")
    assert data.truncated.tolist() == [False, True]
    assert data.next_observations(torch.tensor([0, 1])).tolist() == [4, 5]


def test_without_finish_nothing_is_left(root: Path) -> None:
    with DatasetWriter(
        "aa/half-v0", observation_space=spaces.Discrete(9), action_space=spaces.Discrete(2), num_envs=1
    ) as target:
        step(target, torch.tensor([3]), torch.tensor([4]), end=True)
    assert local_datasets() == []
    assert list((root / "aa").iterdir()) == []


@pytest.mark.parametrize("name", ["cartpole", "a/b", "a//", "../a-v0", "a b-v0", "a/b-v0", "aa/b-v0/c"])
def test_names_that_minari_does_not_read_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="dataset must be named NAME-vN or NAMESPACE/NAME-vN"):
        writer.check_new(name)


def test_an_existing_name_is_refused() -> None:
    written("aa/b-v0", spaces.Discrete(3))
    with pytest.raises(ValueError, match="aa/b-v0 exists already"):
        writer.check_new("aa/b-v0")


def test_equal_episodes_give_equal_files(root: Path) -> None:
    for name in ("aa/one-v0", "aa/two-v0"):
        written(name, IMAGE)
    one, two = (root / "aa" / name / "data" / files.DATA for name in ("one-v0", "two-v0"))
    assert one.read_bytes() == two.read_bytes()


# Returns and paths


def test_returns_by_hand() -> None:
    written("aa/b-v0", spaces.Discrete(3), lengths=(3, 1, 2))
    data = read_dataset("aa/b-v0")  # rewards 0 1 2 | 0 | 0 1
    assert data.returns(0.5).tolist() == [1.0, 2.0, 2.0, 0.0, 0.5, 1.0]
    assert data.returns(1.0).tolist() == [3.0, 3.0, 2.0, 0.0, 1.0, 1.0]


def test_a_path_and_a_root_are_taken(root: Path, tmp_path: Path) -> None:
    written("aa/b-v0", spaces.Discrete(3))
    assert len(read_dataset(str(root / "aa" / "b-v0"))) == 13
    moved = tmp_path / "elsewhere"
    root.rename(moved)
    assert len(read_dataset("aa/b-v0", root=moved)) == 13
    with pytest.raises(ValueError, match="it has no data sets"):
        read_dataset("aa/b-v0")


def test_an_unknown_name_lists_the_known_ones() -> None:
    written("cartpole/expert-v0", spaces.Discrete(3))
    with pytest.raises(ValueError, match=r"it has cartpole/expert-v0; did you mean cartpole/expert-v0\?"):
        read_dataset("cartpole/expert-v1")


# Damaged files


def damage(root: Path, change: Callable[[h5py.File], None]) -> None:
    with h5py.File(root / "aa" / "b-v0" / "data" / files.DATA, "a") as file:
        change(file)


def put(name: str, value: Any) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        del file[name]
        file[name] = value

    return change


def remove(name: str) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        del file[name]

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (put("episode_1/observations", np.array([[0, np.nan]] * 2, np.float32)), "observations of episode_1 .* NaN"),
        (put("episode_2/rewards", np.array([np.inf] * 7)), "rewards of episode_2 contain NaN or infinity"),
        (put("episode_2/rewards", np.zeros(6)), "episode_2 has wrong lengths: 7 actions, 6 rewards"),
        (put("episode_0/observations", np.zeros((5, 2), np.float32)), "episode_0 has 5 observations for 5 actions"),
        (put("episode_0/observations", np.zeros((6, 3), np.float32)), r"episode_0 are \[3\], not \[2\]"),
        (put("episode_0/actions", np.array([0, 1, 2, 3, 0])), r"actions of episode_0 lie outside Discrete\(3\)"),
        (put("episode_0/terminations", np.ones(5, bool)), "episode_0 goes on after its end"),
        (remove("episode_1"), "lacks episode_1 of 3"),
        (remove("episode_1/truncations"), "episode_1 has no truncations"),
        (remove("episode_1/observations"), "episode_1 has no observations"),
    ],
)
@pytest.mark.parametrize("in_memory", [True, False])
def test_bad_values_are_named(
    change: Callable[[h5py.File], None], message: str, in_memory: bool, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written("aa/b-v0", spaces.Box(0, 1, (2,), np.float32))
    damage(root, change)
    if not in_memory:
        monkeypatch.setattr(episodes, "IN_MEMORY", 0)
    with pytest.raises(ValueError, match=message) as raised:
        read_dataset("aa/b-v0")
    assert len(str(raised.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"minari_version": "0.6.0"}, "written by Minari 0.6.0; gymnast reads 0.5"),
        ({"data_format": "arrow"}, "Minari's format arrow; gymnast reads hdf5"),
        ({"total_steps": 14}, "holds 13 steps, but its metadata say 14"),
        ({"total_episodes": 4}, "lacks episode_3 of 4"),
        ({"total_episodes": 0}, "no episodes"),
        ({"observation_space": "{}"}, "observation_space is damaged"),
        ({"gymnast_frame_stack": 4}, "gymnast_frame_stack 4, but observations"),
        ({"action_space": '{"type": "Tuple", "subspaces": []}'}, "has Tuple actions"),
    ],
)
def test_bad_metadata_are_named(change: dict[str, Any], message: str, root: Path) -> None:
    written("aa/b-v0", spaces.Discrete(3))
    file = root / "aa" / "b-v0" / "data" / files.METADATA
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(ValueError, match=message) as raised:
        read_dataset("aa/b-v0")
    assert len(str(raised.value).splitlines()) == 1


def test_corrupt_files_are_named(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written("aa/b-v0", IMAGE, lengths=(30,))
    file = root / "aa" / "b-v0" / "data" / files.DATA
    monkeypatch.setattr(episodes, "IN_MEMORY", 0)
    data = read_dataset("aa/b-v0")
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="ended early"):
        data.observations(everything(data))
    with pytest.raises(ValueError, match=r"main_data.hdf5 is damaged or not an HDF5 file"):
        read_dataset("aa/b-v0")
    (file.parent / files.METADATA).write_text("{")
    with pytest.raises(ValueError, match=r"metadata.json is damaged"):
        read_dataset("aa/b-v0")


def test_a_missing_package_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    written("aa/b-v0", spaces.Discrete(3))
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ValueError, match=r"^data sets need minari: pip install 'gymnast\[data\]'$"):
        read_dataset("aa/b-v0")
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ValueError, match="the data set digits needs scikit-learn"):
        labelled("digits", seed=0)
