"""Augmentation: `networks/layers/augment.py`."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from gymnast.networks.layers.augment import random_shift

PAD = 4


def cropped(images: torch.Tensor, pad: int, generator: torch.Generator) -> torch.Tensor:
    """The definition: pad [B, C, H, W] by repeating the border, then crop each image at its own place."""
    _, _, height, width = images.shape
    shift = torch.randint(-pad, pad + 1, (2, len(images), 1), generator=generator) + pad
    padded = functional.pad(images.float(), (pad, pad, pad, pad), mode="replicate").to(images.dtype)
    places = zip(padded, shift[0, :, 0].tolist(), shift[1, :, 0].tolist(), strict=True)
    return torch.stack([image[:, y : y + height, x : x + width] for image, y, x in places])


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_a_shift_is_a_crop_of_the_padded_image_in_both_layouts(dtype: torch.dtype) -> None:
    images = torch.randint(0, 256, (64, 3, 10, 14), generator=torch.Generator().manual_seed(1)).to(dtype)
    wanted = cropped(images, PAD, torch.Generator().manual_seed(2))
    first = random_shift(images, PAD, torch.Generator().manual_seed(2))
    last = random_shift(images.movedim(1, -1), PAD, torch.Generator().manual_seed(2), is_last=True)
    assert first.dtype == dtype
    assert torch.equal(first, wanted)
    assert torch.equal(last.movedim(-1, 1), wanted)
    assert not torch.equal(first, images)


def test_frames_of_a_stack_move_together() -> None:
    frame = torch.rand(8, 1, 6, 5, 3)
    stack = frame.expand(-1, 4, -1, -1, -1)  # [B, frames, H, W, C], all frames alike
    moved = random_shift(stack, 2, torch.Generator().manual_seed(0), is_last=True)
    assert torch.equal(moved, moved[:, :1].expand(-1, 4, -1, -1, -1))
    flat = random_shift(frame[:, 0, ..., 0], 2, torch.Generator().manual_seed(0))  # [B, H, W]
    assert torch.equal(flat, moved[:, 0, ..., 0])


def test_every_shift_occurs_and_none_is_larger_than_the_pad() -> None:
    images = torch.zeros(4_000, 1, 9, 9)
    images[:, :, 4, 4] = 1.0
    moved = random_shift(images, 2, torch.Generator().manual_seed(0))
    places = moved.flatten(1).argmax(1)
    counts = torch.bincount(places, minlength=81).view(9, 9)
    assert (counts[2:7, 2:7] > 100).all()
    assert counts.sum() == counts[2:7, 2:7].sum()


def test_no_pad_changes_nothing_and_a_negative_one_is_refused() -> None:
    images = torch.rand(3, 2, 5, 5)
    assert torch.equal(random_shift(images, 0), images)
    with pytest.raises(ValueError, match="pad must be >= 0, got -1"):
        random_shift(images, -1)
