"""Video files: h264 in mp4, written frame by frame through PyAV, without a display or other programs."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

QUALITY = {"crf": "20", "preset": "veryfast"}


class VideoWriter:
    """Writes frames to an mp4 file as they come; the file gets its name only once it is complete.

    A missing folder is created. As a context manager it discards the unfinished file when its block raises. Frames are
    uint8 [H, W, 3] and all of the same size; an odd height or width is padded with one black line, because the encoder
    takes only even sizes. `fps` is frames per second, and may be a fraction.
    """

    def __init__(self, path: str | os.PathLike[str], fps: float) -> None:
        if not fps > 0:
            raise ValueError(f"fps must be > 0, got {fps}")
        self.path = Path(path)
        self.frames = 0
        self._rate = Fraction(fps).limit_denominator(1000)
        self._part = self.path.with_name(f".{self.path.name}.part")
        self._container: Any = None
        self._stream: Any = None
        self._shape: tuple[int, ...] = ()

    def add(self, frame: NDArray[np.uint8]) -> None:
        """Append one frame, uint8 [H, W, 3]. Raises ValueError if its shape or type differs from the first one's."""
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
            raise ValueError(f"a frame must be uint8 [H, W, 3], got {frame.dtype} {list(frame.shape)}")
        if self._container is None:
            self._open(frame.shape)
        if frame.shape != self._shape:
            raise ValueError(f"all frames must have the same size, got {list(frame.shape)} after {list(self._shape)}")
        height, width = frame.shape[:2]
        if height % 2 or width % 2:
            frame = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)))
        from av import VideoFrame  # with the whole of FFmpeg, which only a video needs

        picture = VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
        self._container.mux(self._stream.encode(picture))
        self.frames += 1

    def close(self) -> None:
        """Finish the file and name it; without frames no file is written. Calling it twice is harmless."""
        if self._container is None:
            return
        container, self._container = self._container, None
        container.mux(self._stream.encode(None))
        container.close()
        os.replace(self._part, self.path)

    def discard(self) -> None:
        """Discard everything written since the last `close`."""
        if self._container is not None:
            container, self._container = self._container, None
            container.close()
            self._part.unlink(missing_ok=True)

    def _open(self, shape: tuple[int, ...]) -> None:
        import av

        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._container = av.open(str(self._part), "w", format="mp4")
        self._stream = self._container.add_stream("libx264", rate=self._rate, options=QUALITY)
        self._stream.height, self._stream.width = (size + size % 2 for size in shape[:2])
        self._stream.pix_fmt = "yuv420p"  # supported by every browser and player
        self._shape = shape

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.discard()
