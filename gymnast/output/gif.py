"""A small animated GIF of a video, for viewers that show only images."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Gif:
    """An encoded GIF and its size in pixels."""

    data: bytes
    width: int
    height: int


def gif_of(path: Path, *, fps: float, max_frames: int = 300, max_side: int = 240) -> Gif:
    """The first part of a video, scaled down, with frames dropped to about 10 per second of its own time."""
    # Both take a while to import and are needed only for videos.
    import av
    from PIL import Image

    every = max(round(fps / 10), 1)
    frames: list[Image.Image] = []
    with av.open(str(path)) as container:
        for index, frame in enumerate(container.decode(video=0)):
            if index % every == 0:
                image = frame.to_image()
                image.thumbnail((max_side, max_side))
                frames.append(image.quantize())
            if len(frames) == max_frames:
                break
    if not frames:
        raise ValueError(f"{path} holds no frames")
    buffer = io.BytesIO()
    duration = 1000 * every / fps
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:], duration=duration, loop=0)
    return Gif(buffer.getvalue(), *frames[0].size)
