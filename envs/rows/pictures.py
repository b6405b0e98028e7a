"""Rendered pictures as frames of a video. No torch: workers use it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gymnast.envs.rows import incoming
from gymnast.envs.rows.incoming import BadValue

CHANNELS = (3, 4, 1, 2)
"""Channels of a picture: RGB, RGBA, grey, grey with alpha. Alpha is dropped."""


def picture(frame: Any) -> NDArray[np.uint8]:
    """A frame in RGB, uint8 [H, W, 3]; BadValue if it is not a picture.

    Channels may come last, first ([C, H, W], where the last axis cannot be channels) or not at all (grey). Floats of
    at most 1 are fractions of white; other numbers are from 0 to 255 and clipped there. Of a list of frames
    (`rgb_array_list`) the last one is used.
    """
    if isinstance(frame, (list, tuple)) and frame and np.ndim(frame[0]) > 1:
        frame = frame[-1]
    array = incoming.as_array(frame)
    if array.ndim not in (2, 3) or not array.size or array.dtype.kind not in "biuf":
        raise BadValue(f"gave {incoming.shown(frame)} when it rendered, which is not a picture")
    if array.ndim == 2:
        array = array[:, :, None]
    if array.shape[2] not in CHANNELS:
        if array.shape[0] not in CHANNELS:
            raise BadValue(f"gave an array of shape {array.shape} when it rendered, which is not a picture")
        array = np.moveaxis(array, 0, 2)
    colours = array[:, :, :3] if array.shape[2] > 2 else array[:, :, :1].repeat(3, 2)
    return np.ascontiguousarray(_bytes(colours))


def _bytes(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Brightness of any type in 0 to 255."""
    if values.dtype == np.uint8:
        return values.astype(np.uint8, copy=False)
    if values.dtype.kind == "b":
        values = np.where(values, 255, 0)
    if values.dtype.kind == "f":
        values = np.nan_to_num(values.astype(np.float64), posinf=255.0, neginf=0.0)
        values = np.rint(values * 255.0 if values.max() <= 1.0 else values)
    return values.clip(0, 255).astype(np.uint8)
