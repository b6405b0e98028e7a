"""Videos are decoded again and compared with the frames that went in."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from gymnast.output.video import VideoWriter


def decode(path):
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
        return frames, stream.average_rate, stream.codec_context.name


def film(video, frames):
    for frame in frames:
        video.add(np.asarray(frame))


def moving_square(count, height, width):
    frames = np.full((count, height, width, 3), 40, np.uint8)
    for index, frame in enumerate(frames):
        frame[8:24, 4 + index : 20 + index] = (230, 120, 60)
    return frames


@pytest.mark.parametrize(("height", "width"), [(48, 64), (47, 63), (210, 160)])
def test_what_is_written_can_be_watched(tmp_path, height, width):
    frames = moving_square(20, height, width)
    path = tmp_path / "new folder" / "episode.mp4"
    with VideoWriter(path, fps=15) as video:
        for frame in frames:
            video.add(frame)
        assert not path.exists()  # it bears its name only once it is whole
    decoded, rate, codec = decode(path)
    assert (len(decoded), rate, codec) == (20, 15, "h264")
    for frame, back in zip(frames, decoded, strict=True):
        assert back.shape == (height + height % 2, width + width % 2, 3)
        error = np.abs(back[:height, :width].astype(int) - frame.astype(int))
        assert error.mean() < 4
    assert [entry.name for entry in path.parent.iterdir()] == ["episode.mp4"]


def test_fractional_rates_are_kept(tmp_path):
    with VideoWriter(tmp_path / "a.mp4", fps=7.5) as video:
        for frame in moving_square(4, 32, 32):
            video.add(frame)
    assert decode(tmp_path / "a.mp4")[1] == Fraction(15, 2)


def test_an_interrupted_video_leaves_the_old_one(tmp_path):
    path = tmp_path / "a.mp4"
    path.write_bytes(b"the last good one")
    with pytest.raises(ValueError, match="a frame must be"), VideoWriter(path, fps=10) as video:
        film(video, [*moving_square(1, 32, 32), "not a frame"])
    assert path.read_bytes() == b"the last good one"
    assert list(tmp_path.iterdir()) == [path]


def test_no_frames_no_file_and_closing_twice(tmp_path):
    video = VideoWriter(tmp_path / "a.mp4", fps=10)
    video.close()
    video.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (np.zeros((8, 8), np.uint8), r"a frame must be uint8 \[H, W, 3\], got uint8 \[8, 8\]"),
        (np.zeros((8, 8, 3)), r"a frame must be uint8 \[H, W, 3\], got float64 \[8, 8, 3\]"),
        (np.zeros((8, 10, 3), np.uint8), r"all frames must have the same size, got \[8, 10, 3\] after \[32, 32, 3\]"),
    ],
)
def test_wrong_frames_are_refused(tmp_path, frame, message):
    video = VideoWriter(tmp_path / "a.mp4", fps=10)
    video.add(moving_square(1, 32, 32)[0])
    with pytest.raises(ValueError, match=message):
        video.add(frame)
    video.discard()
    assert list(tmp_path.iterdir()) == []


def test_a_rate_must_be_positive(tmp_path):
    with pytest.raises(ValueError, match="fps must be > 0, got 0"):
        VideoWriter(tmp_path / "a.mp4", fps=0)


def test_evaluate_writes_the_video_that_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from gymnast.cli.main import main

    words = f"train hill-climbing --env CartPole-v1 --steps 60 --no-video --name r --out {tmp_path}".split()
    assert main(words) == 0
    run = str(tmp_path / "CartPole-v1" / "hill-climbing" / "r")
    for given, file in (("new/x.mp4", "new/x.mp4"), ("films", "films/CartPole-v1-hill-climbing-seed0.mp4")):
        assert main(["evaluate", run, "--episodes", "1", "--video", str(tmp_path / given)]) == 0
        assert (tmp_path / file).is_file()
    capsys.readouterr()
    assert main(["evaluate", run, "--video", "x.gif"]) == 2
    assert capsys.readouterr().err == "gymnast: --video must be a file named .mp4 or a folder, got x.gif\n"
