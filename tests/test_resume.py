"""2N steps equal N, stop, resume, N more, bit for bit; evaluating and checkpointing never alter a run (rows 24, 25)."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from gymnast.agents import DQN
from gymnast.agents.table import A2C, BBF, TD3
from gymnast.evaluation import play
from gymnast.evaluation.play import evaluate
from gymnast.settings import agents
from gymnast.settings.options import TrainOptions
from gymnast.storage import checkpoint, rebuild
from gymnast.storage.metrics_log import read
from gymnast.training import session
from gymnast.training.train import resume, train

SMALL_DQN = {
    "hidden_sizes": (16,),
    "batch_size": 16,
    "replay_size": 300,
    "learning_starts": 40,
    "train_period": 4,
    "target_period": 50,
}
SMALL_PQN = {"rollout_steps": 16, "minibatches": 2, "hidden_sizes": (16,), "epsilon": "linear:1:0.1:400"}
SMALL_PPO = {"rollout_steps": 16, "minibatches": 2, "hidden_sizes": (16,)}
SMALL_WORLD = {
    "learning_starts": 40,
    "replay_size": 300,
    "units": 8,
    "batch_size": 4,
    "sequence_length": 8,
    "model_updates": 7,
    "generations": 5,
    "population_size": 4,
    "rollouts": 2,
    "dream_steps": 10,
}
SMALL_DREAMER = {
    "size": "1m",
    "batch_size": 3,
    "sequence_length": 6,
    "sequence_period": 2,
    "replay_size": 400,
    "learning_starts": 30,
    "horizon": 4,
    "train_ratio": 4,
}
SMALL_IRIS = {
    "code_grid": 2,
    "vector_codes": 2,
    "codes": 8,
    "code_size": 4,
    "tokenizer_channels": 4,
    "tokenizer_blocks": 1,
    "tokenizer_units": 8,
    "model_width": 8,
    "model_layers": 2,
    "model_heads": 2,
    "policy_channels": 4,
    "memory_size": 8,
    "batch_size": 3,
    "tokenizer_batch": 12,
    "sequence_length": 5,
    "horizon": 4,
    "context": 2,
    "burn_in": 5,
    "replay_size": 400,
    "learning_starts": 30,
    "model_starts": 40,
    "policy_starts": 50,
    "train_period": 4,
    "learning_rate": 1e-3,
}
SMALL_SAC = {"hidden_sizes": (16,), "batch_size": 16, "learning_starts": 40, "replay_size": 500}
CASES = [
    ("dqn", "CartPole-v1", 1, SMALL_DQN),
    ("dqn", "CartPole-v1", 3, SMALL_DQN),
    ("dqn", "gymnast/Catch-v0", 2, {**SMALL_DQN, "tau": 0.01, "target_period": 1}),
    ("dqn", "CartPole-v1", 2, {**SMALL_DQN, "prioritized": True, "n_step": 3, "noisy": True, "values": "quantile"}),
    ("dqn", "CartPole-v1", 2, {**SMALL_DQN, "prioritized": True, "priority": "rank", "double": True, "dueling": True}),
    (
        "dqn",
        "CartPole-v1",
        2,
        {**BBF, **SMALL_DQN, "hidden_sizes": (16, 16), "updates_per_train": 2, "reset_period": 70, "anneal_steps": 30},
    ),
    ("sac", "Pendulum-v1", 2, SMALL_SAC),
    ("sac", "Pendulum-v1", 1, {**SMALL_SAC, "critic_norm": "layer", "dropout": 0.1, "n_step": 3, "policy_period": 3}),
    ("q-learning", "FrozenLake-v1", 1, {}),
    ("q-learning", "Blackjack-v1", 2, {}),
    ("sarsa", "Taxi-v4", 1, {}),
    ("expected-sarsa", "FrozenLake-v1", 2, {}),
    ("double-q-learning", "FrozenLake-v1", 1, {}),
    ("n-step-sarsa", "gymnast/Chain-v0", 2, {}),
    ("dyna-q", "FrozenLake-v1", 2, {"time_bonus": 0.01, "model_outcomes": 3}),
    ("prioritized-sweeping", "gymnast/Chain-v0", 2, {}),
    ("td", "FrozenLake-v1", 1, {}),
    ("ucb", "gymnast/Bandit-v0", 1, {}),
    ("thompson", "gymnast/Bandit-v0", 2, {}),
    ("ppo", "CartPole-v1", 3, SMALL_PPO),
    ("ppo", "Pendulum-v1", 2, {**SMALL_PPO, "normalise_obs": True, "normalise_rewards": True}),
    ("ppo", "gymnast/Memory-v0", 2, {**SMALL_PPO, "recurrent": "lstm", "memory_size": 8, "sequence_length": 8}),
    ("ppo", "CartPole-v1", 2, {**SMALL_PPO, "recurrent": "transformer", "memory_size": 8, "recurrent_steps": 6}),
    ("ppo", "CartPole-v1", 2, {**SMALL_PPO, "intrinsic": "rnd", "advantage": "vtrace"}),
    ("ppo", "CartPole-v1", 2, {**A2C, "recurrent": "gru", "memory_size": 8}),
    ("ppo", "CartPole-v1", 2, {**SMALL_PPO, "policy_loss": "trust-region", "fisher_share": 0.5}),
    ("ppo", "Pendulum-v1", 2, {**SMALL_PPO, "policy_loss": "natural", "normalise_obs": True}),
    ("pqn", "CartPole-v1", 3, SMALL_PQN),
    ("dqn", "CartPole-v1", 2, {**SMALL_DQN, "intrinsic": "episodic"}),
    ("pqn", "CartPole-v1", 2, {**SMALL_PQN, "intrinsic": "icm"}),
    ("ppo", "CartPole-v1", 2, {**SMALL_PPO, "intrinsic": "episodic"}),
    ("pqn", "gymnast/CartPole-v1", 2, {**SMALL_PQN, "minibatches": 5}),
    ("hill-climbing", "CartPole-v1", 2, {}),
    ("ga", "CartPole-v1", 1, {"population_size": 4, "parents": 2, "elite_candidates": 2}),
    ("es", "CartPole-v1", 3, {"population_size": 4}),
    ("dreamer", "CartPole-v1", 1, {**SMALL_DREAMER, "train_ratio": 1}),
    ("iris", "CartPole-v1", 1, {**SMALL_IRIS, "train_period": 16}),
    ("iris", "gymnast/Catch-v0", 3, {**SMALL_IRIS, "train_period": 16}),
    ("world-models", "CartPole-v1", 2, {**SMALL_WORLD, "epsilon": 0.3}),
]
MORE = [
    ("sac", "Pendulum-v1", 1, {**SMALL_SAC, **TD3, "exploration": "ornstein-uhlenbeck", "prioritized": True}),
    ("sac", "gymnast/Catch-v0", 2, {**SMALL_SAC, "target_network": False, "critic_norm": "batch-renorm"}),
    ("dreamer", "Pendulum-v1", 3, {**SMALL_DREAMER, "train_ratio": 1}),
    ("world-models", "Pendulum-v1", 1, {**SMALL_WORLD, "latent": "vae", "latent_size": 2, "vae_updates": 6}),
]
"""Further ones, which only `make long` runs."""


def options(tmp: Path, env: str, **changes: Any) -> TrainOptions:
    defaults = {"eval_every": 0, "eval_episodes": 3, "log_every": 37, "checkpoint_every": 0, "video": False}
    return TrainOptions(env=env, out=str(tmp), name="run", **{**defaults, **changes})


def config(agent: str, changes: dict[str, Any]) -> Any:
    return agents.config_class(agents.agent_class(agent))(**changes)


def same(left: Any, right: Any, where: str = "") -> None:
    """Fail at the first place where two states differ."""
    assert type(left) is type(right), where
    if isinstance(left, torch.Tensor):
        assert torch.equal(left.nan_to_num(), right.nan_to_num()), where
    elif isinstance(left, dict):
        assert left.keys() == right.keys(), where
        for key in left:
            same(left[key], right[key], f"{where}.{key}")
    elif isinstance(left, list | tuple):
        assert len(left) == len(right), where
        for number, (a, b) in enumerate(zip(left, right, strict=True)):
            same(a, b, f"{where}[{number}]")
    else:
        assert left == right, where


def last_state(path: Path) -> dict[str, Any]:
    """Everything that a run goes on from, the bytes of its replay's files included."""
    content = checkpoint.read(path / "checkpoints" / "last.pt")[1]
    del content["about"]  # the time of writing differs, as do the steps asked for
    if "files" in content["agent"].get("replay", {}):
        blocks = content["agent"]["replay"].pop("files")["blocks"]
        content["frames"] = [(path / "checkpoints" / "replay" / block["name"]).read_bytes() for block in blocks]
    for name in ("timing", "seconds"):
        del content["session"][name]
    return content


@pytest.mark.parametrize(
    ("agent", "env", "num_envs", "changes"),
    [*CASES, *(pytest.param(*case, marks=pytest.mark.long) for case in MORE)],
    ids=lambda case: str(case)[:24],
)
def test_resumed_equals_uninterrupted(tmp_path: Path, agent: str, env: str, num_envs: int, changes: dict) -> None:
    steps = 331
    chosen = config(agent, changes)
    whole = train(agent, options(tmp_path / "a", env, steps=2 * steps, num_envs=num_envs, eval_every=150), chosen)
    half = train(agent, options(tmp_path / "b", env, steps=steps, num_envs=num_envs, eval_every=150), chosen)
    assert whole.exit_code == half.exit_code == 0
    rest = resume(half.path, steps=2 * steps)
    assert rest.env_step == whole.env_step >= 2 * steps
    assert (rest.path / "metrics.jsonl").read_bytes() == (whole.path / "metrics.jsonl").read_bytes()
    same(last_state(whole.path), last_state(rest.path))


OVERLAPPING = [
    ("CartPole-v1", {"vectorization": "async"}, SMALL_DQN, 200),
    ("ALE/Pong-v5", {"env_options": '{"screen": 36}', "max_episode_steps": 30}, {**SMALL_DQN, "network": "mlp"}, 60),
]


@pytest.mark.parametrize(("env", "how", "changes", "steps"), OVERLAPPING, ids=["workers", "atari"])
@pytest.mark.slow
def test_an_overlapped_run_resumes_exactly(tmp_path: Path, env: str, how: dict, changes: dict, steps: int) -> None:
    """No matter where it was stopped and how often it was saved; and overlapping is another run than not."""
    chosen, how = config("dqn", changes), {"num_envs": 2, "eval_episodes": 1, **how}
    whole = train("dqn", options(tmp_path / "a", env, steps=2 * steps, overlap=True, **how), chosen)
    half = train("dqn", options(tmp_path / "b", env, steps=steps, overlap=True, checkpoint_every=26, **how), chosen)
    plain = train("dqn", options(tmp_path / "c", env, steps=2 * steps, **how), chosen)
    assert (whole.exit_code, half.exit_code, plain.exit_code) == (0, 0, 0)
    rest = resume(half.path, steps=2 * steps)
    left, right, other = last_state(whole.path), last_state(rest.path), last_state(plain.path)
    for state in (left, right):
        del state["session"]  # one was asked for periodic checkpoints
    same(left, right)
    updates = (2 * steps - SMALL_DQN["learning_starts"]) // SMALL_DQN["train_period"]
    assert (other["agent"]["updates"], left["agent"]["updates"]) == (updates, updates - 1)
    assert not torch.equal(*(next(iter(state["agent"]["online"].values())) for state in (left, other)))


def test_same_seed_same_run_and_other_seed_another(tmp_path: Path) -> None:
    runs = [
        train("dqn", options(tmp_path / str(k), "CartPole-v1", steps=300, seed=s), config("dqn", SMALL_DQN)).path
        for k, s in enumerate((5, 5, 6))
    ]
    first, second, third = ((run / "metrics.jsonl").read_bytes() for run in runs)
    assert first == second != third
    same(last_state(runs[0]), last_state(runs[1]))


def test_evaluating_and_checkpointing_alter_nothing(tmp_path: Path) -> None:
    base = options(tmp_path / "a", "CartPole-v1", steps=400)
    busy = replace(base, out=str(tmp_path / "b"), eval_every=60, checkpoint_every=50)
    plain, often = (train("dqn", chosen, config("dqn", SMALL_DQN)).path for chosen in (base, busy))
    left, right = last_state(plain), last_state(often)
    for key in ("agent", "frames", "actor", "env", "loop", "torch_rng"):
        same(left[key], right[key], key)


def test_evaluation_leaves_the_agent_as_it_was(tmp_path: Path) -> None:
    path = train("dqn", options(tmp_path, "CartPole-v1", steps=200), config("dqn", SMALL_DQN)).path
    agent = rebuild.load(path)
    before = torch.get_rng_state()
    state = {key: value.clone() if isinstance(value, torch.Tensor) else value for key, value in flat(agent).items()}
    evaluate(agent, "CartPole-v1", episodes=3)
    assert torch.equal(torch.get_rng_state(), before)
    same(state, flat(agent))


def flat(agent: Any) -> dict[str, Any]:
    """An agent's state as one level of path -> value."""
    found: dict[str, Any] = {}

    def walk(value: Any, where: str) -> None:
        if isinstance(value, dict):
            for key, part in value.items():
                walk(part, f"{where}.{key}")
        else:
            found[where] = value

    walk(agent.state_dict(), "")
    return found


def test_the_best_checkpoint_reproduces_its_score(tmp_path: Path) -> None:
    path = train("dqn", options(tmp_path, "CartPole-v1", steps=400, eval_every=100), config("dqn", SMALL_DQN)).path
    about, _ = checkpoint.read(path / "checkpoints" / "best.pt")
    scores = [record["mean_return"] for record in read(path / "metrics.jsonl") if record["kind"] == "eval"]
    assert about.score == max(scores)
    again = evaluate(rebuild.load(path), "CartPole-v1", episodes=3, seed=about.score_seed)
    assert again.mean_return == about.score


def test_records_rise_and_repeat_nothing(tmp_path: Path) -> None:
    chosen = config("dqn", SMALL_DQN)
    path = train("dqn", options(tmp_path, "CartPole-v1", steps=300, eval_every=100), chosen).path
    resume(path, steps=600)
    records = read(path / "metrics.jsonl")
    for kind in ("train", "eval"):
        steps = [record["env_step"] for record in records if record["kind"] == kind]
        assert steps == sorted(set(steps))
    assert sum(record["kind"] == "final" for record in records) == 1
    assert records[-1]["env_step"] == 600


def test_endless_episodes_still_log(tmp_path: Path) -> None:
    path = train("q-learning", options(tmp_path, "CliffWalking-v1", steps=74, max_episode_steps=10_000)).path
    records = [record for record in read(path / "metrics.jsonl") if record["kind"] == "train"]
    assert [record["env_step"] for record in records] == [37, 74]


def alive(session: int) -> list[str]:
    """The processes of a session, without zombies, which have ended."""
    listed = subprocess.run(["ps", "-o", "stat=,args=", "-s", str(session)], capture_output=True, text=True).stdout
    return [line for line in listed.splitlines() if not line.startswith("Z")]


@pytest.mark.slow
@pytest.mark.parametrize(("number", "how"), [(signal.SIGINT, []), (signal.SIGTERM, ["--overlap"])])
def test_a_signal_leaves_a_resumable_run(tmp_path: Path, number: int, how: list[str]) -> None:
    command = [sys.executable, "-m", "gymnast", "train", "dqn", "--env", "CartPole-v1", "--steps", "10000000"]
    command += [
        "--out",
        str(tmp_path),
        "--name",
        "run",
        "--vectorization",
        "async",
        "--num-envs",
        "2",
        "--no-video",
        *how,
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    path = tmp_path / "CartPole-v1" / "dqn" / "run"
    for _ in range(600):
        if (path / "metrics.jsonl").exists() and (path / "metrics.jsonl").stat().st_size:
            break
        time.sleep(0.1)
    process.send_signal(number)
    assert process.wait(timeout=30) == 128 + number
    for _ in range(50):  # multiprocessing's resource tracker ends by itself, a moment after its parent
        left = alive(process.pid)
        if not left:
            break
        time.sleep(0.1)
    assert left == []
    about, content = checkpoint.read(path / "checkpoints" / "last.pt")
    assert about.env_step == content["loop"]["env_step"] > 0
    assert resume(path, steps=about.env_step + 100).exit_code == 0


def test_a_signal_in_the_final_evaluation_keeps_the_finished_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = play.evaluate

    def interrupted(*args: Any, **kwargs: Any) -> Any:
        os.kill(os.getpid(), signal.SIGTERM)
        return plain(*args, **kwargs)

    monkeypatch.setattr(play, "evaluate", interrupted)  # what the session evaluates with is another name
    result = train("q-learning", options(tmp_path, "FrozenLake-v1", steps=100))
    assert (result.exit_code, result.final, result.env_step) == (143, None, 100)
    assert checkpoint.read(result.path / "checkpoints" / "last.pt")[0].env_step == 100
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_an_evaluation_that_a_signal_cut_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = {"steps": 200, "eval_every": 90}
    whole = train("dqn", options(tmp_path / "a", "CartPole-v1", **chosen), config("dqn", SMALL_DQN)).path
    plain = session.evaluate

    def interrupted(*args: Any, **kwargs: Any) -> Any:
        os.kill(os.getpid(), signal.SIGTERM)
        return plain(*args, **kwargs)

    with monkeypatch.context() as patched:
        patched.setattr(session, "evaluate", interrupted)
        cut = train("dqn", options(tmp_path / "b", "CartPole-v1", **chosen), config("dqn", SMALL_DQN))
    assert (cut.exit_code, cut.env_step) == (143, 90)
    assert resume(cut.path).exit_code == 0
    assert (cut.path / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()


def test_a_second_sigint_in_a_step_keeps_the_checkpoint_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may come between a step and its storing, so nothing is kept of what came after the last checkpoint."""
    path = train("dqn", options(tmp_path, "CartPole-v1", steps=100), config("dqn", SMALL_DQN)).path
    before = (path / "checkpoints" / "last.pt").read_bytes()

    def impatient(agent: DQN, *args: Any, **kwargs: Any) -> None:
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(DQN, "store", impatient)
    result = resume(path, steps=200)
    assert (result.exit_code, result.final) == (130, None)
    assert (path / "checkpoints" / "last.pt").read_bytes() == before


def test_a_non_finite_loss_stops_and_keeps_the_last_good_checkpoint(tmp_path: Path) -> None:
    chosen = config(
        "dqn", {**SMALL_DQN, "learning_rate": 1e30, "max_grad_norm": None, "optimizer": "sgd", "loss": "mse"}
    )
    wanted = options(tmp_path, "CartPole-v1", steps=5_000, checkpoint_every=10, log_every=10)
    result = train("dqn", wanted, chosen)
    assert result.exit_code == 1
    assert result.env_step < 5_000
    agent = rebuild.load(result.path / "checkpoints" / "last.pt")
    assert all(torch.isfinite(value).all() for value in flat(agent).values() if isinstance(value, torch.Tensor))


def test_the_file_system_of_a_run_is_locked(tmp_path: Path) -> None:
    from gymnast.errors import UsageError
    from gymnast.storage.folder import locked

    path = train("q-learning", options(tmp_path, "FrozenLake-v1", steps=10)).path
    with locked(path), pytest.raises(UsageError, match="another process"):
        resume(path, steps=20)


def test_out_that_cannot_be_written(tmp_path: Path) -> None:
    from gymnast.errors import UsageError

    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot make the run folder"):
        train("q-learning", options(tmp_path / "file", "FrozenLake-v1", steps=10))
    assert os.listdir(tmp_path) == ["file"]
