"""What the tasks of `gymnast fit` learn from: targets, pairs, neighbours, labels and divergences, beside naive ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import Tensor, distributions, nn

from gymnast.agents import DQN, PPO, PQN, R2D2, DQNConfig
from gymnast.agents.policy.actor_critic_config import ActorCriticConfig
from gymnast.agents.supervised.dynamics import Dynamics
from gymnast.agents.supervised.imitation import Distillation, raw_of
from gymnast.agents.supervised.momentum import Momentum
from gymnast.agents.supervised.representation import Contrastive, SkipGram
from gymnast.agents.supervised.table import config_class, task_class
from gymnast.agents.supervised.task import Task
from gymnast.agents.supervised.teacher import Teacher
from gymnast.agents.value.pqn_config import PQNConfig
from gymnast.envs.rows.frames import StackFrames
from gymnast.fitting.average import Average
from gymnast.fitting.parts import Parts
from gymnast.networks.backbones.inception import Inception
from gymnast.networks.build import build
from gymnast.networks.distributions.distributions import distribution
from gymnast.networks.fast.flat import FlatParameters
from gymnast.networks.modes import learning
from gymnast.replay.datasets.episodes import read_dataset
from gymnast.settings.fit_options import FitOptions
from gymnast.storage import rebuild
from tests import fit_worlds as worlds


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "sets"))
    monkeypatch.chdir(tmp_path)


def task_of(name: str, dataset: str, **changes: Any) -> Any:
    made: Task = Parts.make(name, FitOptions(dataset=dataset), config_class(name)(**changes)).task
    assert isinstance(made, task_class(name))
    return made


def every(task: Any) -> Tensor:
    return torch.arange(len(task.data))


def test_the_targets_of_value_are_discounted_returns() -> None:
    worlds.record("some/set-v0", worlds.here(worlds.Numbered), steps=120)
    data = read_dataset("some/set-v0")
    expected = []
    for episode in range(data.episodes):
        rewards = data.rewards[data.episode == episode].tolist()
        expected += [sum(0.9**k * reward for k, reward in enumerate(rewards[t:])) for t in range(len(rewards))]
    config = {"network": "embedding", "gamma": 0.9}
    task = task_of("value", "some/set-v0", **config)
    assert task.batch(every(task)).target[:, 0].tolist() == pytest.approx(expected, rel=1e-5, abs=1e-6)
    assert task.network.heads["scale"].mean.item() == pytest.approx(np.mean(np.array(expected)[task.train]), abs=1e-5)


@pytest.mark.parametrize("seed", range(4))
def test_pairs_in_time_stay_in_their_episode(seed: int) -> None:
    worlds.record("some/set-v0", worlds.here(worlds.NumberedVector), "--seed", str(seed), steps=150)
    for ahead in (1, 2, 5):
        task: Contrastive = task_of("contrastive", "some/set-v0", ahead=ahead, batch_size=8)
        batch = task.batch(every(task))
        lengths = task.data.starts.diff()[task.data.episode]
        assert torch.equal(batch.next_obs[:, 0], batch.obs[:, 0])  # type: ignore[index,call-overload]
        expected = (batch.obs[:, 1] + ahead).minimum(lengths.float())  # type: ignore[index,call-overload]
        assert torch.equal(batch.next_obs[:, 1], expected)  # type: ignore[index,call-overload]


@pytest.mark.parametrize("seed", range(4))
def test_neighbours_of_walks_stay_in_their_episode_and_window(seed: int) -> None:
    worlds.record("some/set-v0", worlds.here(worlds.Numbered), "--seed", str(seed), steps=150)
    task: SkipGram = task_of("skip-gram", "some/set-v0", window=3)
    generator = torch.Generator().manual_seed(seed)
    index, seen = every(task), set()
    own = task.data.observations(index) - 3
    assert isinstance(own, Tensor)
    for _ in range(20):
        near = task.neighbours(index, generator)[:, 0]
        assert torch.equal(near // 40, own // 40)  # the same episode
        distance = (near - own).abs()
        assert int(distance.min()) >= 1  # never the state itself
        assert int(distance.max()) <= 3
        seen |= set(near.tolist())
    every_state = {int(state) - 3 for state in task.data.observations(index)}  # type: ignore[union-attr]
    ends = task.data.next_observations(task.data.starts[1:] - 1)
    assert seen <= every_state | {int(state) - 3 for state in ends}  # type: ignore[union-attr]
    assert len(seen & {int(state) - 3 for state in ends}) > 5  # type: ignore[union-attr] # last states are neighbours too


def test_negatives_follow_the_frequency_to_three_quarters() -> None:
    worlds.record("some/set-v0", "FrozenLake-v1", steps=600)
    task: SkipGram = task_of("skip-gram", "some/set-v0", negatives=40)
    visits = torch.bincount(task.data.observations(task.train), minlength=16).double()  # type: ignore[arg-type]
    expected = visits.pow(0.75) / visits.pow(0.75).sum()
    drawn = task.neighbours(every(task), torch.Generator().manual_seed(0))[:, 1:].flatten()
    share = torch.bincount(drawn, minlength=16).double() / len(drawn)
    assert float((share - expected).abs().max()) < 0.02  # 24,000 draws: five standard deviations are 0.016
    assert not share[visits == 0].any()


def test_dynamics_end_is_termination_and_the_successor_is_the_true_one() -> None:
    worlds.record("some/set-v0", worlds.here(worlds.NumberedVector), steps=150)
    task: Dynamics = task_of("dynamics", "some/set-v0")
    index = every(task)
    batch = task.batch(index)
    assert bool(task.data.truncated.any())
    assert bool(task.data.terminated.any())
    assert torch.equal(batch.target[:, 1] > 0, task.data.terminated)
    assert torch.equal(batch.target[:, 0], task.data.rewards)
    step = torch.tensor([0.0, 1.0])
    assert torch.equal(batch.next_obs, batch.obs + step)  # type: ignore[operator,arg-type] # at every kind of end too


def test_stacks_are_what_the_environment_showed() -> None:
    worlds.record("some/set-v0", worlds.here(worlds.Frames), "--frame-stack", "3", "--episodes", "6")
    data = read_dataset("some/set-v0")
    task = task_of("inverse-dynamics", "some/set-v0", network="mlp")
    batch = task.batch(every(task))
    for number, seed in enumerate(data.seeds):
        rows = torch.arange(data.starts[number], data.starts[number + 1])
        env = StackFrames(worlds.Frames(), 3)
        shown = [env.reset(seed=seed)[0], *(env.step(int(action))[0] for action in data.actions(rows))]
        np.testing.assert_array_equal(batch.obs[rows].numpy(), np.stack(shown[:-1]))  # type: ignore[index]
        np.testing.assert_array_equal(batch.next_obs[rows].numpy(), np.stack(shown[1:]))  # type: ignore[index]


SPACES: dict[str, spaces.Space[Any]] = {
    "discrete": spaces.Discrete(4, start=7),
    "multi": spaces.MultiDiscrete([2, 4, 3], start=[1, 0, -2]),
    "matrix": spaces.MultiDiscrete([[2, 3], [4, 2]]),
    "bits": spaces.MultiBinary(3),
    "bit matrix": spaces.MultiBinary((2, 2)),
    "box": spaces.Box(-100, 100, (2, 3), np.float32),
}


def torchs(kind: str, space: Any, output: Tensor) -> list[distributions.Distribution]:
    """torch's distributions of each part."""
    if kind == "discrete":
        return [distributions.Categorical(logits=output)]
    if kind in ("multi", "matrix"):
        return [distributions.Categorical(logits=part) for part in output.split(space.nvec.flatten().tolist(), -1)]  # type: ignore[no-untyped-call]
    if "bit" in kind:
        return [distributions.Bernoulli(logits=output[:, column]) for column in range(output.shape[1])]
    mean, log_std = output.chunk(2, -1)
    return [distributions.Normal(mean[:, column], log_std[:, column].exp()) for column in range(mean.shape[1])]


@pytest.mark.parametrize("kind", SPACES)
def test_kl_is_torchs(kind: str) -> None:
    space = SPACES[kind]
    made = distribution(space)
    generator = torch.Generator().manual_seed(0)
    one, other = (torch.randn(6, made.outputs + made.scales, generator=generator) for _ in range(2))
    pairs = zip(torchs(kind, space, one), torchs(kind, space, other), strict=True)
    expected = torch.stack([distributions.kl_divergence(p, q) for p, q in pairs]).sum(0)
    torch.testing.assert_close(made.kl(one, other), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(made.kl(one, one), torch.zeros(6), atol=1e-6, rtol=0)


def test_kl_of_squashed_actions_is_that_of_the_numbers_squashed() -> None:
    space = spaces.Box(-2, 3, (2,), np.float32)
    plain, squashed = distribution(space), distribution(space, squash=True)
    one, other = torch.randn(5, 4), torch.randn(5, 4)
    torch.testing.assert_close(squashed.kl(one, other), plain.kl(one, other))


@pytest.mark.parametrize("kind", SPACES)
def test_raw_actions_are_those_that_were_drawn(kind: str) -> None:
    space = SPACES[kind]
    made = distribution(space)
    raw = made.sample(torch.randn(50, made.outputs + made.scales), torch.Generator().manual_seed(1))
    played = made.to_env(raw)
    assert all(space.contains(action.numpy().astype(space.dtype)) for action in played)
    assert torch.equal(raw_of(space, played), raw)


OBS = spaces.Box(-1, 1, (4,), np.float32)
TWO, THREE = spaces.Discrete(2), spaces.Discrete(3, start=2)


def teachers() -> dict[str, Any]:
    box = spaces.Box(-2, 2, (2,), np.float32)
    return {
        "dqn": DQN(OBS, THREE, DQNConfig(replay_size=100, dueling=True), seed=1),
        "categorical": DQN(OBS, THREE, DQNConfig(replay_size=100, values="categorical", v_min=-5, v_max=5), seed=1),
        "pqn": PQN(OBS, THREE, PQNConfig(), seed=1),
        "ppo": PPO(OBS, THREE, ActorCriticConfig(), seed=1),
        "normalised": PPO(OBS, THREE, ActorCriticConfig(normalise_obs=True), seed=1),
        "gaussian": PPO(OBS, box, ActorCriticConfig(), seed=1),
        "squashed": PPO(OBS, box, ActorCriticConfig(squash=True), seed=1),
    }


@pytest.mark.parametrize("name", ["dqn", "categorical", "pqn", "ppo", "normalised", "gaussian", "squashed"])
def test_a_teachers_labels_are_what_it_would_do(name: str) -> None:
    agent = teachers()[name]
    teacher = Teacher(agent, agent.observation_space, agent.action_space)
    obs = torch.rand(20, 4) * 2 - 1
    actions = teacher.actions(obs)
    # one by one and batched forwards differ in the last bits
    np.testing.assert_allclose(actions.numpy(), np.stack([agent.predict(one.numpy()) for one in obs]), atol=1e-5)
    assert np.array_equal(actions.numpy(), agent.predict(obs.numpy()))
    made = distribution(agent.action_space, squash=name == "squashed")
    outputs = teacher.outputs(obs, 0.5)
    assert outputs.shape == (20, made.outputs + made.scales)
    torch.testing.assert_close(made.to_env(made.mode(outputs)), actions, check_dtype=False, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["dqn", "categorical", "pqn"])
def test_action_values_are_those_that_choose(name: str) -> None:
    agent = teachers()[name]
    obs = torch.rand(9, 4)
    with torch.no_grad():
        q = agent.q_values(obs)
    assert q.shape == (9, 3)
    assert (q.argmax(1) + 2).tolist() == agent.predict(obs.numpy()).tolist()
    teacher = Teacher(agent, OBS, THREE)
    torch.testing.assert_close(teacher.outputs(obs, 0.1), q / 0.1)


def test_other_spaces_and_agents_with_memory_do_not_teach() -> None:
    agent = teachers()["ppo"]
    with pytest.raises(ValueError, match=r"the teacher has observations Box\(.*, and the data Box"):
        Teacher(agent, spaces.Box(-1, 1, (5,), np.float32), THREE)
    with pytest.raises(ValueError, match=r"the teacher has actions Discrete\(3, start=2\), and the data Discrete\(2\)"):
        Teacher(agent, OBS, TWO)
    memory = PPO(OBS, TWO, ActorCriticConfig(recurrent="lstm", minibatches=1), seed=0)
    with pytest.raises(ValueError, match="a recurrent teacher cannot label single observations"):
        Teacher(memory, OBS, TWO)
    other = R2D2(OBS, TWO, seed=0)
    with pytest.raises(ValueError, match="recurrent teacher"):
        Teacher(other, OBS, TWO)


def test_labels_do_not_depend_on_the_order_in_which_they_are_asked_for(tmp_path: Path) -> None:
    worlds.record("some/set-v0", worlds.here(worlds.Walk), steps=300)
    worlds.policy(worlds.Walk, tmp_path / "teacher.pt")
    changes = {"teacher": str(tmp_path / "teacher.pt")}
    one, other = (task_of("distillation", "some/set-v0", **changes) for _ in range(2))
    index = torch.randperm(300, generator=torch.Generator().manual_seed(0))
    whole = one.label(torch.arange(300))
    pieces = torch.cat([other.label(part) for part in index.split(7)])  # type: ignore[no-untyped-call]
    assert torch.equal(pieces, whole[index])
    assert isinstance(one, Distillation)
    assert torch.equal(one.batch(index).target, whole[index])


class Normed(nn.Module):
    """A layer with batch normalisation."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.norm = nn.Linear(3, 4), nn.BatchNorm1d(4)

    def forward(self, obs: Tensor) -> Tensor:
        found: Tensor = self.norm(self.linear(obs))
        return found


def test_the_average_has_running_statistics_of_its_own() -> None:
    torch.manual_seed(0)
    network = Normed()
    average = Average(FlatParameters(network), 0.75)
    mean = network.norm.running_mean
    assert mean is not None
    expected = mean.clone()
    network.train()
    for _ in range(5):
        network(torch.randn(8, 3) + 2)
        average.follow()
        expected = 0.75 * expected + 0.25 * mean
    current = mean.clone()
    with average.in_place():
        torch.testing.assert_close(mean, expected)
        assert not torch.allclose(mean, current)
    assert torch.equal(mean, current)
    other = Average(FlatParameters(Normed()), 0.75)
    other.restore(average.state())
    assert torch.equal(other.state(), average.state())
    with pytest.raises(ValueError, match="has an average of 3 numbers"):
        other.restore(torch.zeros(3))


def test_a_momentum_copy_follows_and_stays_in_evaluation_mode() -> None:
    torch.manual_seed(0)
    network = Normed()
    copy = Momentum(network, 0.9)
    whole = nn.ModuleList([network, copy])
    learning(whole)
    assert network.training
    assert not copy.network.training
    network(torch.randn(8, 3))
    before = copy.network.linear.weight.clone()
    network.linear.weight.data.add_(1.0)
    copy.follow(network)
    torch.testing.assert_close(copy.network.linear.weight, before + 0.1)
    kept = copy.network.norm.running_mean.clone()
    assert torch.equal(kept, network.norm.running_mean)  # type: ignore[arg-type]
    copy(torch.randn(8, 3) + 5)
    assert torch.equal(copy.network.norm.running_mean, kept)
    assert not [name for name, value in copy.named_parameters() if value.requires_grad]


def test_alike_observations_are_no_success_of_a_contrast() -> None:
    """Features that are all the same rank every pair first unless ties are counted."""
    worlds.record("some/set-v0", worlds.here(worlds.Walk), steps=300)
    task: Contrastive = task_of("contrastive", "some/set-v0", batch_size=64)
    for name, value in task.network.named_parameters():
        if name.endswith("weight"):
            value.data.zero_()
    found = task.measures(task.outputs(task.batch(torch.arange(50))))
    assert found["accuracy"] == pytest.approx(1 / 50)
    assert found["top5"] == pytest.approx(5 / 50)
    assert found["feature_std"] == 0.0


def test_auxiliary_classifiers_are_heads_on_earlier_modules() -> None:
    space = spaces.Box(0, 255, (16, 16, 3), np.uint8)
    generator = torch.Generator().manual_seed(0)
    made = build("inception", space, options={"auxiliary": True}, generator=generator, classifies=True).eval()
    assert isinstance(made, Inception)
    assert len(made.branches) == 2
    obs = torch.randint(0, 256, (2, 16, 16, 3), dtype=torch.uint8)
    features, branches = made.auxiliary(obs)
    assert torch.equal(features, made(obs))
    assert [tuple(part.shape[1:]) for part in branches] == list(made.branches.values())
    # 4a and 4d: 512 and 528 channels of the whole network (Szegedy et al. 2015, table 1)
    assert [part.shape[1] for part in branches] == [128, 132]
    plain = build("inception", space, generator=torch.Generator().manual_seed(0))
    assert plain.branches == {}  # type: ignore[union-attr]
    assert plain.state_dict().keys() == made.state_dict().keys()
    with pytest.raises(ValueError, match="auxiliary belongs to gymnast fit classify, and has no effect here"):
        build("inception", space, options={"auxiliary": True}, generator=generator)


def test_auxiliary_losses_count_three_tenths() -> None:
    config = {"network": "inception", "network_options": {"width": 0.05}}
    task = task_of("classify", "digits", **{**config, "network_options": {"width": 0.05, "auxiliary": True}})
    batch = task.batch(task.train[:20])
    generator = torch.Generator().manual_seed(0)
    loss, metrics = task.loss(batch, generator)
    plain = nn.functional.cross_entropy(task.logits(batch.inputs), batch.target)
    _, branches = task.network.backbone.auxiliary(batch.inputs)
    others = [
        nn.functional.cross_entropy(task.network.heads[f"auxiliary{number}"](part), batch.target)
        for number, part in enumerate(branches)
    ]
    assert len(others) == 2
    torch.testing.assert_close(metrics["auxiliary_loss"], torch.stack(others).sum())
    torch.testing.assert_close(loss, plain + 0.3 * (others[0] + others[1]))
    loss.backward()  # type: ignore[no-untyped-call]
    assert all(value.grad is not None for value in task.network.parameters())


def test_the_value_loss_of_a_policy_is_on_returns() -> None:
    worlds.record("some/set-v0", worlds.here(worlds.Walk), steps=200)
    task = task_of("behaviour-cloning", "some/set-v0", value_coef=2.0, gamma=0.9)
    batch = task.batch(torch.arange(50))
    loss, metrics = task.loss(batch, torch.Generator())
    output, value = task.network(batch.obs)
    returns = task.data.returns(0.9)[:50]
    of_value = 0.5 * (value[:, 0] - returns).square().mean()
    torch.testing.assert_close(metrics["value_loss"], of_value)
    nll = nn.functional.cross_entropy(output, batch.action - 5)
    torch.testing.assert_close(loss, nll + 2.0 * of_value)


def test_a_squashed_teacher_makes_a_squashed_student(tmp_path: Path) -> None:
    worlds.record("some/set-v0", worlds.here(worlds.Push), steps=200)
    worlds.policy(worlds.Push, tmp_path / "teacher.pt", squash=True)
    task = task_of("distillation", "some/set-v0", teacher=str(tmp_path / "teacher.pt"))
    assert task.student.config.squash
    agent = rebuild.load(tmp_path / "teacher.pt")
    batch = task.batch(torch.arange(5))
    with torch.no_grad():
        torch.testing.assert_close(batch.target, agent.network(batch.obs)[0])  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match=r"temperature 0\.5 has no effect on the actions Box"):
        task_of("distillation", "some/set-v0", teacher=str(tmp_path / "teacher.pt"), temperature=0.5)
