"""One thread for torch and NumPy, as `make test` runs a worker a core; and the tests that only `make long` runs."""

from pathlib import Path

import pytest

from gymnast.machine import limit_threads

LONG = Path(__file__).with_name("long.txt")
"""Tests measured at two seconds or more, where a shorter one asserts the same of something else."""

limit_threads(1)  # two beside a busy core are slower than one


@pytest.hookimpl(tryfirst=True)  # before -m chooses
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark the tests of long.txt; one that does not exist any more is an error, as far as its file was collected."""
    listed = set(LONG.read_text(encoding="utf-8").splitlines())
    known = {item.nodeid for item in items}
    files = {name.partition("::")[0] for name in known}
    gone = sorted(name for name in listed - known if name.partition("::")[0] in files)
    if gone and not any("::" in argument for argument in config.args):
        raise pytest.UsageError(f"tests/long.txt names a test that does not exist: {gone[0]}")
    for item in items:
        if item.nodeid in listed:
            item.add_marker(pytest.mark.long)
