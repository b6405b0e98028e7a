"""The local log: the same bytes for the same records, whole lines only, nothing repeated, a full disk survived."""

import errno
import json
import math
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gymnast.storage.metrics_log import MetricsLog, read


def rows(count: int, start: int = 0) -> list[dict]:
    return [{"kind": "train", "env_step": step, "loss": 1 / (step + 3)} for step in range(start, start + count)]


def write(path: Path, records: list[dict]) -> None:
    log = MetricsLog(path)
    for record in records:
        log.write(record)
    log.close()


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """The kernel takes the part of a write that fits and refuses the rest, as it does on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_record_is_one_compact_line_with_exact_floats(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    write(path, [{"kind": "train", "env_step": 3, "loss": 0.1, "values": (1, 2.5), "name": "é"}])
    assert path.read_bytes() == b'{"kind":"train","env_step":3,"loss":0.1,"values":[1,2.5],"name":"\\u00e9"}\n'
    third = 1 / 3
    write(tmp_path / "third", [{"value": third}])
    assert read(tmp_path / "third")[0]["value"] == third  # repr round-trips


def test_identical_records_give_identical_bytes(tmp_path: Path) -> None:
    write(tmp_path / "a", rows(50))
    write(tmp_path / "b", rows(50))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_numbers_that_json_lacks_become_null(tmp_path: Path) -> None:
    write(tmp_path / "log", [{"a": math.nan, "b": [math.inf, 1.0], "c": {"d": -math.inf}}])
    line = (tmp_path / "log").read_text()
    assert json.loads(line, parse_constant=pytest.fail) == {"a": None, "b": [None, 1.0], "c": {"d": None}}


def test_a_value_that_is_not_plain_is_refused_and_leaves_nothing_behind(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "log")
    with pytest.raises(TypeError):
        log.write({"path": tmp_path})
    log.write({"env_step": 1})
    log.close()
    assert read(tmp_path / "log") == [{"env_step": 1}]


def test_every_record_is_in_the_file_before_the_next_one(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "log")
    for count, record in enumerate(rows(3), start=1):
        log.write(record)
        assert read(tmp_path / "log") == rows(count)
        assert log.position() == (tmp_path / "log").stat().st_size
    log.close()
    log.close()


def test_truncate_at_a_position_repeats_nothing_after_resume(tmp_path: Path) -> None:
    write(tmp_path / "straight", rows(20))
    path = tmp_path / "resumed"
    log = MetricsLog(path)
    for record in rows(10):
        log.write(record)
    saved = log.position()
    for record in rows(5, start=10):  # written after the checkpoint, before the crash
        log.write(record)
    log.close()

    log = MetricsLog(path)
    log.truncate(saved)
    assert log.position() == saved
    for record in rows(10, start=10):
        log.write(record)
    log.close()
    assert path.read_bytes() == (tmp_path / "straight").read_bytes()


@pytest.mark.parametrize("cut", range(1, 40))
def test_a_torn_last_line_is_cut_off_when_opened(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "log"
    write(path, rows(3))
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    assert read(path) == rows(2)
    write(path, rows(1, start=2))
    assert path.read_bytes() == whole


def test_a_torn_line_longer_than_a_block_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "log"
    write(path, rows(2))
    whole = path.read_bytes()
    path.write_bytes(whole + b"x" * 200_000)
    assert read(path) == rows(2)
    MetricsLog(path).close()
    assert path.read_bytes() == whole
    path.write_bytes(b"x" * 200_000)
    MetricsLog(path).close()
    assert path.read_bytes() == b""


def test_reading_names_the_line_that_is_not_a_record(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text('{"a":1}\nnonsense\n{"b":2}\n')
    with pytest.raises(ValueError, match="line 2: not JSON"):
        read(path)
    path.write_text("[1]\n")
    with pytest.raises(ValueError, match="line 1: not a JSON object"):
        read(path)


def test_a_full_disk_warns_once_and_the_records_follow_when_there_is_space(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "straight", rows(12))
    path = tmp_path / "log"
    log = MetricsLog(path)
    with file_size_limit(100):  # two records and a part of the third
        for record in rows(10):
            log.write(record)
        assert path.stat().st_size == 100
        assert read(path) == rows(2)  # the torn third one is not read
    warnings = capsys.readouterr().err.splitlines()
    assert len(warnings) == 1
    assert "training continues" in warnings[0]
    position = log.position()
    for record in rows(2, start=10):
        log.write(record)
    assert position < log.position() == path.stat().st_size
    log.close()
    assert path.read_bytes() == (tmp_path / "straight").read_bytes()
    assert capsys.readouterr().err == ""


def test_what_still_waits_at_the_end_is_named_as_lost_and_the_file_stays_good(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "log"
    log = MetricsLog(path)
    with file_size_limit(100):
        for record in rows(4):
            log.write(record)
        saved = log.position()
        log.close()
    assert "could not be written and are lost" in capsys.readouterr().err
    log = MetricsLog(path)
    log.truncate(saved)  # the checkpoint knew more records than the disk kept
    assert "records before the resumed step are missing" in capsys.readouterr().err
    log.write(rows(1, start=4)[0])
    log.close()
    assert read(path) == rows(2) + rows(1, start=4)


def test_a_log_that_cannot_be_opened_raises(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file") as caught:
        MetricsLog(tmp_path / "absent" / "log")
    assert caught.value.errno == errno.ENOENT
