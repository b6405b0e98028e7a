"""Rules of one row on a GPU: in Numba's simulator they are those of the CPU, and on a GPU those of tensors."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from gymnast.envs.native.draws import row_keys
from gymnast.envs.native.engine import TensorEngine
from gymnast.envs.native.vector import NativeVectorEnv
from gymnast.envs.registration import NATIVE
from tests.test_kernels import ROUNDED, tensors, with_rows

ROOT = Path(__file__).parent.parent


def test_the_simulated_gpu_does_what_the_cpu_does() -> None:
    command = [sys.executable, "-m", "tests.simulated_cuda"]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "NUMBA_ENABLE_CUDASIM": "1"},
        capture_output=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stderr[-3000:]


def test_a_form_can_be_asked_for() -> None:
    tensor = NativeVectorEnv(NATIVE["gymnast/Catch-v0"][0], 3, engine="tensors")
    assert isinstance(tensor.engine, TensorEngine)
    rows = NativeVectorEnv(NATIVE["gymnast/Catch-v0"][0], 3, engine="rows", compile=True)
    assert type(rows.engine).__name__ == "RowEngine"
    for env in (tensor, rows):
        env.reset(seed=1)
    for action in torch.randint(3, (30, 3), generator=torch.Generator().manual_seed(0)):
        one, two = tensor.step(action), rows.step(action)
        assert all(torch.equal(left, right) for left, right in zip(one[:4], two[:4], strict=True))


@pytest.mark.parametrize(
    ("game", "engine", "device", "message"),
    [
        ("gymnast.envs.native.catch:Catch", "row", "cpu", "engine must be auto, rows or tensors, got 'row'"),
        ("gymnast.envs.native.catch:Catch", "rows", "meta", "need the device cpu or cuda, not meta"),
        ("tests.counter:Counter", "rows", "cpu", "Counter has no rules of one row: engine must be auto or tensors"),
    ],
)
def test_a_form_that_a_game_has_not_is_refused(game: str, engine: str, device: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        NativeVectorEnv(game, 2, engine=engine, device=device)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_machine_without_a_gpu_is_told() -> None:
    from gymnast.envs.kernels import cuda

    with pytest.raises(ValueError, match="rules of one row on a GPU need numba-cuda"):
        cuda.check(torch.device("cuda"))


@pytest.mark.gpu
@pytest.mark.parametrize("id", with_rows())
def test_a_gpu_does_what_tensors_do(id: str) -> None:
    from gymnast.envs.kernels import cuda

    try:
        cuda.check(torch.device("cuda"))
    except ValueError as error:
        pytest.skip(str(error))
    rows, tensor = (NativeVectorEnv(NATIVE[id][0], 40, engine=form, device="cuda") for form in ("rows", "tensors"))
    rounded = type(rows.game).__name__ in ROUNDED
    for env in (rows, tensor):
        env.reset_keys(row_keys(3, 40, device=rows.device))
    rows.action_space.seed(0)
    for _ in range(100):
        action = torch.as_tensor(rows.action_space.sample(), device=rows.device)
        action = action.float() if action.is_floating_point() else action.long()
        one, two = (tensors(env.engine, env.engine.advance(action, 30, None)) for env in (rows, tensor))
        for name, value in two.items():
            if rounded and value.is_floating_point():
                torch.testing.assert_close(one[name], value, rtol=1e-5, atol=1e-5, msg=name)
            else:
                assert torch.equal(one[name], value), name
        if rounded:
            rows.engine.load(tensor.world)
