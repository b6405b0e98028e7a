"""GAIL: the discriminator, the expert's episodes, and runs that learn from its rewards."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import Tensor

from gymnast.agents import PPO
from gymnast.agents.base import Acted, LearningError
from gymnast.agents.maths import adversarial
from gymnast.agents.policy.actor_critic_config import ActorCriticConfig
from gymnast.agents.rewards.discriminator import Discriminator
from gymnast.agents.rewards.gail import Gail, Pairs
from gymnast.agents.rewards.passes import Passes
from gymnast.cli.main import main
from gymnast.envs.step import Step
from gymnast.replay.datasets.episodes import EpisodeData
from gymnast.storage import checkpoint, rebuild
from tests import fit_worlds as worlds
from tests.imitation_worlds import Episode, dataset, played

BOX = spaces.Box(-10, 10, (3,), np.float32)
TWO = spaces.Discrete(2)
PIXELS = spaces.Box(0, 255, (12, 12, 1), np.uint8)
NAME = "walk/expert-v0"


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "sets"))
    return tmp_path / "sets"


def agent(observed: gym.Space[Any] = BOX, acted: gym.Space[Any] = TWO, *, seed: int = 0, **changes: Any) -> PPO:
    config = ActorCriticConfig(**{"gail": NAME, "rollout_steps": 4, "minibatches": 1, **changes})
    return PPO(observed, acted, config, num_envs=2, seed=seed)


def gail(observed: gym.Space[Any] = BOX, acted: gym.Space[Any] = TWO, **changes: Any) -> Gail:
    made = agent(observed, acted, **changes).learned_reward
    assert isinstance(made, Gail)
    return made


def some(space: gym.Space[Any], count: int, *, seed: int = 0) -> Tensor:
    space.seed(seed)
    return torch.from_numpy(np.array([space.sample() for _ in range(count)]))


def episode(length: int, *, observed: gym.Space[Any] = BOX, acted: gym.Space[Any] = TWO, seed: int = 0) -> Episode:
    return Episode(some(observed, length + 1, seed=seed).numpy(), some(acted, length, seed=seed).numpy())


def network(observed: gym.Space[Any], acted: gym.Space[Any]) -> Discriminator:
    generator = torch.Generator().manual_seed(3)
    return Discriminator(observed, acted, network="auto", hidden_sizes=(16,), generator=generator)


# The discriminator.


@pytest.mark.parametrize(
    ("observed", "acted"),
    [
        (BOX, TWO),
        (BOX, spaces.Box(-2, 2, (2,), np.float32)),
        (BOX, spaces.MultiDiscrete([2, 3])),
        (PIXELS, TWO),
        (spaces.Box(0, 255, (4, 84, 84), np.uint8), TWO),
        (spaces.Discrete(5, start=2), spaces.MultiBinary(3)),
    ],
)
def test_a_row_is_judged_by_observation_and_action(observed: gym.Space[Any], acted: gym.Space[Any]) -> None:
    judge, obs, action = network(observed, acted), some(observed, 4), some(acted, 4)
    logits = judge(obs, action)
    assert logits.shape == (4,)
    torch.testing.assert_close(judge(obs[2:3], action[2:3]), logits[2:3])
    other = torch.where(action == action.max(), action.min(), action.max())
    assert (judge(obs, other) != logits).any()


def test_floats_are_normalised_by_what_both_sides_showed() -> None:
    judge, box = network(BOX, spaces.Box(-2, 2, (1,), np.float32)), spaces.Box(-2, 2, (1,), np.float32)
    sides = [(some(BOX, 50, seed=seed) * (1 + 3 * seed) + seed, some(box, 50, seed=seed)) for seed in (0, 1)]
    for side in sides:
        judge.count(*side)
    obs, action = (torch.cat(parts) for parts in zip(*sides, strict=True))
    seen, taken = judge.seen(obs, action)
    for part in (seen, taken):
        torch.testing.assert_close(part.mean(0), torch.zeros(part.shape[1]), atol=1e-5, rtol=0)
        torch.testing.assert_close(part.std(0, correction=0), torch.ones(part.shape[1]))


def test_the_gradient_is_that_of_finite_differences() -> None:
    judge, obs, action = network(BOX, TWO), some(BOX, 3) / 10, torch.eye(2)[[0, 1, 0]]

    def moved(at: int, by: float) -> Tensor:
        changed = torch.cat([obs, action], 1)
        changed[:, at] += by
        return judge.judge(changed[:, :3], changed[:, 3:])

    naive = torch.stack([(moved(at, 1e-2) - moved(at, -1e-2)) / 2e-2 for at in range(5)], 1).square().sum(1)
    torch.testing.assert_close(judge.squared_gradient(obs, action), naive, rtol=1e-3, atol=0)


def test_pixels_count_in_units_of_255() -> None:
    """The gradient of an image in bytes is that of the same image as floats between 0 and 1."""
    floats = spaces.Box(0.0, 1.0, (12, 12, 1), np.float32)
    of_bytes, of_floats = network(PIXELS, TWO), network(floats, TWO)
    of_floats.load_state_dict(of_bytes.state_dict(), strict=False)  # which has no statistics
    obs, action = some(PIXELS, 3), torch.eye(2)[[0, 1, 0]]
    torch.testing.assert_close(of_bytes.judge(obs, action), of_floats.judge(obs / 255, action))
    torch.testing.assert_close(of_bytes.squared_gradient(obs, action), of_floats.squared_gradient(obs / 255, action))


def test_a_loss_is_the_cross_entropy_of_its_logits_and_the_penalty() -> None:
    made = gail(gail_absorbing=False, gail_penalty=3.0, gail_regulariser="r1")
    sides = [(some(BOX, 6, seed=seed), some(TWO, 6, seed=seed)) for seed in (0, 1)]
    loss, logits, metrics = made.loss(Pairs(sides[0], sides[1]), None)
    own = [made.network(*side) for side in sides]
    torch.testing.assert_close(logits, torch.cat(own))
    bare = adversarial.discriminator_loss(*own)
    penalty = 0.5 * made.network.squared_gradient(*made.network.seen(*sides[0])).mean()
    torch.testing.assert_close(loss, bare + 3.0 * penalty)
    assert float(metrics["discriminator_loss"]) == pytest.approx(float(bare.detach()), rel=1e-6)


def test_a_penalty_point_lies_between_both_sides(monkeypatch: pytest.MonkeyPatch) -> None:
    made, seen = gail(gail_absorbing=False), list[Tensor]()
    true = made.network.squared_gradient
    monkeypatch.setattr(made.network, "squared_gradient", lambda *point: seen.extend(point) or true(*point))
    expert, policy = (
        (torch.zeros(64, 3), torch.zeros(64, dtype=torch.int64)),
        (torch.ones(64, 3), torch.ones(64).long()),
    )
    made.loss(Pairs(expert, policy), None)
    obs, action = seen
    assert obs.min() > 0.0
    assert obs.max() < 1.0
    assert len(set(obs[:, 0].tolist())) == 64
    torch.testing.assert_close(action, torch.stack([1.0 - obs[:, 0], obs[:, 0]], 1))  # the same share


# The expert.


def test_each_pass_has_every_example_once() -> None:
    passes = Passes(torch.Generator().manual_seed(0))
    drawn = torch.cat([passes.draw(4, 7) for _ in range(7)])
    for start in range(0, 28, 7):
        assert sorted(drawn[start : start + 7].tolist()) == list(range(7))
    assert passes.draw(20, 3).bincount().tolist() in ([7, 7, 6], [7, 6, 7], [6, 7, 7])


def test_an_order_continues_from_its_state() -> None:
    one, other = (Passes(torch.Generator().manual_seed(seed)) for seed in (0, 5))
    one.draw(5, 7)
    other.load_state_dict(one.state_dict())
    assert torch.equal(one.draw(11, 7), other.draw(11, 7))


def test_the_experts_transitions_belong_together_and_none_is_past_an_end() -> None:
    """Observations number episode and time, and the action is the parity of their sum; only the first two are used."""
    lengths, observed = (3, 1, 4), spaces.Box(0, 100, (2,), np.float32)
    episodes = [
        Episode(
            [np.array([number, time], np.float32) for time in range(length + 1)],
            [np.int64((number + time) % 2) for time in range(length)],
            terminated=number != 1,
        )
        for number, length in enumerate(lengths)
    ]
    made = gail(observed, gail_episodes=2, gail_batch_size=4)
    made.imitate(dataset(NAME, observed, TWO, episodes))
    assert (made.count, float(made.expert_rate)) == (4, pytest.approx(1.5 / 5))
    for _ in range(3):
        obs, action = made._expert()
        assert isinstance(obs, Tensor)
        assert sorted(map(tuple, obs.tolist())) == [(0.0, 0.0), (0.0, 1.0), (0.0, 2.0), (1.0, 0.0)]
        assert torch.equal(action, (obs.sum(1) % 2).long())


def test_too_few_episodes_and_no_episodes_are_refused() -> None:
    made = gail(gail_episodes=3)
    with pytest.raises(ValueError, match="gail_episodes 3 are more than the 2 of data set walk/expert-v0"):
        made.imitate(dataset(NAME, BOX, TWO, [episode(3), episode(2)]))
    with pytest.raises(LearningError, match="the expert's episodes are missing"):
        made(played(some(BOX, 4), some(TWO, 4)))


def test_a_network_without_second_derivatives_is_refused() -> None:
    """torch's fused attention has none."""
    steps = spaces.Box(-1, 1, (6, 5), np.float32)
    data = dataset(NAME, steps, TWO, [episode(3, observed=steps)])
    with pytest.raises(ValueError, match="gradient needs second derivatives, which gail_network transformer does not"):
        gail(steps, gail_network="transformer").imitate(data)
    made = gail(steps, gail_network="transformer", gail_regulariser="spectral")
    made.imitate(data)
    assert made(played(some(steps, 4), some(TWO, 4)))[0].isfinite().all()


# Rewards.


def test_the_optimum_on_known_distributions_is_the_log_ratio() -> None:
    """Three states and two actions: the expert prefers some pairs, and the policy others."""
    states = spaces.Discrete(3)
    p, q = [8, 4, 4, 2, 1, 1], [2, 4, 4, 2, 4, 4]  # counts of (state, action), 20 of each

    def pairs(counts: list[int]) -> tuple[Tensor, Tensor]:
        index = torch.arange(6).repeat_interleave(torch.tensor(counts))
        return index // 2, index % 2

    settings = {"gail_regulariser": "none", "gail_learning_rate": 3e-3, "gail_batch_size": 20, "gail_updates": 1_000}
    made = gail(states, gail_absorbing=False, gail_reward="airl", **settings)
    obs, action = pairs(p)
    made.imitate(dataset(NAME, states, TWO, [Episode([*obs.numpy(), np.int64(0)], action.numpy())]))
    made(played(*pairs(q)))
    with torch.no_grad():
        logits = made.network(torch.arange(6) // 2, torch.arange(6) % 2)
    torch.testing.assert_close(logits, (torch.tensor(p) / torch.tensor(q)).log(), atol=0.1, rtol=0)


@pytest.mark.parametrize("form", ["positive", "negative", "airl"])
def test_an_end_has_the_rewards_of_the_absorbing_state(form: adversarial.RewardForm) -> None:
    """Discounted by 0.9 an ended episode lasts 9 steps more; the policy ends 2 of 5, the expert 1 of 6."""
    made = gail(gail_reward=form, gamma=0.9, gail_updates=1)
    made.imitate(dataset(NAME, BOX, TWO, [episode(6)]))
    rollout = played(some(BOX, 5), some(TWO, 5), terminated=[1, 4])
    reward, metrics = made(rollout)
    rates = 9 * torch.tensor(1.5 / 7), 9 * torch.tensor(2.5 / 6)
    with torch.no_grad():
        own, end = adversarial.with_absorbing(made.network(rollout.obs, rollout.action), *rates)
    wanted = adversarial.discriminator_reward(own, form)
    end = adversarial.discriminator_reward(end, form)
    torch.testing.assert_close(reward, wanted + rollout.terminated * 9.0 * end)
    assert float(metrics["absorbing_reward"]) == pytest.approx(float(end), rel=1e-5)
    assert float(metrics["learned_reward"]) == pytest.approx(float(reward.mean()), rel=1e-5)


def test_a_policy_that_is_the_expert_gains_nothing_by_living_longer_or_shorter() -> None:
    """The same transitions on both sides and D = 1/2: an end is worth as much as going on forever."""
    for form, each in (("positive", math.log(2)), ("negative", -math.log(2)), ("airl", 0.0)):
        made = gail(gail_reward=form, gamma=0.9, gail_learning_rate=1e-12)
        for parameter in made.network.output.parameters():
            parameter.data.zero_()
        data = dataset(f"{form}-v0", BOX, TWO, [episode(6)])
        made.imitate(data)
        rows = torch.arange(6)
        reward, _ = made(played(data.observations(rows), data.actions(rows), terminated=[5]))
        torch.testing.assert_close(reward, torch.tensor([each] * 5 + [each / (1 - 0.9)]))


def test_rows_that_do_not_count_are_not_learned_from() -> None:
    """A row of weight 0 holds an observation that would change every statistic."""
    found = []
    for odd in (0.0, 1e6):
        made = gail(gail_batch_size=8)
        made.imitate(dataset(f"{NAME[:-1]}{len(found)}", BOX, TWO, [episode(6)]))
        obs, weight = some(BOX, 5), torch.tensor([1.0, 1.0, 0.0, 1.0, 1.0])
        obs[2] = odd
        reward, metrics = made(played(obs, some(TWO, 5))._replace(weight=weight))
        found.append((reward[weight > 0], metrics["learned_reward"]))
    assert torch.equal(found[0][0], found[1][0])
    assert torch.equal(found[0][1], found[1][1])


def test_a_rollout_is_learned_from_with_the_discriminators_rewards() -> None:
    """What the estimates see is the discriminator's reward of each transition, bootstraps included as ever."""
    made = agent(gae_lambda=1.0, gamma=0.5, normalise_advantages=False)
    learned = made.learned_reward
    assert isinstance(learned, Gail)
    learned.imitate(dataset(NAME, BOX, TWO, [episode(6)]))
    actor = made.actor(2, explore=True, seed=1)
    obs, start = some(BOX, 2, seed=9), torch.ones(2, dtype=torch.bool)
    for time in range(4):
        acted: Acted = actor.act(obs, start)
        ended = torch.tensor([time == 1, time == 2])  # the first row terminates, the second is cut off
        ends = ended & torch.tensor([True, False]), ended & torch.tensor([False, True])
        following = some(BOX, 2, seed=10 + time)
        step = Step(
            following, ended, following, torch.full((2,), 77.0), *ends, num_active=2, num_ended=int(ended.sum())
        )
        made.store(obs, acted, step)
        obs, start = following, ended
    metrics = made.learn()
    fields = made.rollout.fields
    with torch.no_grad():
        logit = learned.network(fields["obs"].flatten(0, 1), made.distribution.to_env(fields["raw"].flatten(0, 1)))
    logit, end = adversarial.with_absorbing(logit, torch.tensor(1.5 / 7), torch.tensor(1.5 / 9))
    own, end = (adversarial.discriminator_reward(part, "positive") for part in (logit.view(4, 2), end))
    own[1, 0] += 1.0 * end  # gamma / (1 - gamma)
    torch.testing.assert_close(fields["reward"], own)
    assert fields["final_value"][2, 1] != 0.0  # what was cut off has its bootstrap
    assert {"discriminator_loss", "discriminator_accuracy", "discriminator_penalty", "learned_reward"} <= set(metrics)


# Runs.


@pytest.fixture
def expert() -> EpisodeData:
    """20 episodes of a policy of `Walk` that moves along the axis of the largest number."""
    rng, made = np.random.default_rng(0), list[Episode]()
    for number in range(20):
        env = worlds.Walk()
        seen, ended = [env.reset(seed=number)[0]], False
        actions = []
        while not ended:
            actions.append(np.int64(5 + seen[-1].argmax()) if rng.random() > 0.02 else np.int64(5))
            obs, _, terminated, truncated, _ = env.step(actions[-1])
            seen.append(obs)
            ended = terminated or truncated
        made.append(Episode(seen, actions, terminated))
    return dataset(NAME, worlds.Walk.observation_space, worlds.Walk.action_space, made)


def words(out: Path, name: str, steps: int, *more: str) -> list[str]:
    fixed = ["--env", worlds.here(worlds.Walk), "--num-envs", "4", "--rollout-steps", "16", "--no-video"]
    run = ["--steps", str(steps), "--out", str(out), "--name", name, "--eval-episodes", "2", "--log-every", "64"]
    return ["train", "ppo", *fixed, *run, "--gail", NAME, "--gail-batch-size", "32", *more]


def run_of(out: Path, name: str) -> Path:
    (found,) = out.glob(f"*/ppo/{name}")
    return found


def lines(run: Path, kind: str = '"kind":"train"') -> list[str]:
    return [line for line in (run / "metrics.jsonl").read_text().splitlines() if kind in line]


@pytest.mark.slow
def test_a_policy_learns_to_act_as_the_expert(expert: EpisodeData) -> None:
    made = PPO(
        expert.observation_space,
        expert.action_space,
        ActorCriticConfig(gail=NAME, gail_reward="airl", rollout_steps=64, learning_rate=1e-3, epochs=8),
        num_envs=8,
        seed=1,
    )
    assert isinstance(made.learned_reward, Gail)
    made.learned_reward.imitate(expert)
    rows = torch.arange(len(expert))

    def agreement() -> float:
        chosen = torch.as_tensor(made.predict(expert.observations(rows)))
        return float((chosen == expert.actions(rows)).float().mean())

    before = agreement()
    train_in_walks(made, rollouts=60)
    assert before < 0.4
    assert agreement() > 0.85


def train_in_walks(made: PPO, *, rollouts: int) -> None:
    """Play `Walk` without its own rewards, which would say something else."""
    envs = [worlds.Walk() for _ in range(made.num_envs)]
    obs = torch.from_numpy(np.stack([env.reset(seed=100 + row)[0] for row, env in enumerate(envs)]))
    actor, start = made.actor(len(envs), explore=True, seed=3), torch.ones(len(envs), dtype=torch.bool)
    for _ in range(rollouts * made.config.rollout_steps):
        acted = actor.act(obs, start)
        results = [env.step(int(action)) for env, action in zip(envs, acted.action, strict=True)]
        successor = torch.from_numpy(np.stack([result[0] for result in results]))
        terminated, truncated = (torch.tensor([result[at] for result in results]) for at in (2, 3))
        start = terminated | truncated
        following = torch.from_numpy(
            np.stack(
                [env.reset()[0] if end else result[0] for env, end, result in zip(envs, start, results, strict=True)]
            )
        )
        step = Step(
            following, start, successor, torch.zeros(len(envs)), terminated, truncated, len(envs), int(start.sum())
        )
        made.store(obs, acted, step)
        obs = following
        if made.updates_due(made.env_step):
            made.learn()


def test_a_run_resumes_exactly_and_one_seed_is_one_run(
    expert: EpisodeData, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words(tmp_path, "whole", 512)) == 0, capsys.readouterr().err
    assert main(words(tmp_path, "again", 512)) == 0
    assert main(words(tmp_path, "halves", 224)) == 0  # in the middle of a rollout
    whole, again, halves = (run_of(tmp_path, name) for name in ("whole", "again", "halves"))
    assert main(["resume", str(halves), "--steps", "512", "--trust"]) == 0, capsys.readouterr().err
    assert lines(whole) == lines(again)
    assert [line for line in lines(whole) if '"env_step":224' not in line] == [
        line for line in lines(halves) if '"env_step":224' not in line
    ]
    last = json.loads(lines(whole)[-1])
    assert 0.0 < last["discriminator_loss"] < 2.0
    assert last["return_mean"] != pytest.approx(last["learned_reward"])
    one, other = (
        checkpoint.read(run / "checkpoints" / "last.pt")[1]["agent"]["learned_reward"] for run in (whole, halves)
    )
    for name, value in one["network"].items():
        assert torch.equal(value, other["network"][name])
    for name in ("expert_order", "policy_order"):
        assert torch.equal(one[name]["rest"], other[name]["rest"])
        assert torch.equal(one[name]["generator"], other[name]["generator"])


def test_a_run_is_evaluated_and_loaded_without_its_data_but_not_resumed(
    expert: EpisodeData, tmp_path: Path, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words(tmp_path, "run", 128)) == 0
    run = run_of(tmp_path, "run")
    shutil.move(root / NAME, root / "away")
    assert main(["evaluate", str(run), "--episodes", "2", "--trust"]) == 0, capsys.readouterr().err
    loaded = rebuild.load(run)
    assert loaded.predict(np.zeros(3, np.float32)) in (5, 6, 7)  # type: ignore[attr-defined]
    capsys.readouterr()
    assert main(["resume", str(run), "--steps", "256", "--trust"]) == 2
    assert "--gail walk/expert-v0: unknown data set" in capsys.readouterr().err.replace("gail walk", "--gail walk", 1)
    dataset(
        NAME,
        worlds.Walk.observation_space,
        worlds.Walk.action_space,
        [episode(5, observed=BOX, acted=worlds.Walk.action_space)],
    )
    assert main(["resume", str(run), "--steps", "256", "--trust"]) == 2
    assert "gail walk/expert-v0: the data set has changed since the run began" in capsys.readouterr().err


@pytest.mark.parametrize("cls", [worlds.Push, worlds.Multi, worlds.Bits, worlds.Parts, worlds.Frames])
def test_every_kind_of_spaces_is_imitated(cls: type, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    worlds.record("some/set-v0", worlds.here(cls), steps=100)
    given = [
        "--env",
        worlds.here(cls),
        "--gail",
        "some/set-v0",
        "--steps",
        "128",
        "--rollout-steps",
        "16",
        "--no-video",
    ]
    run = ["--num-envs", "2", "--eval-episodes", "1", "--out", str(tmp_path), "--name", "run", "--log-every", "32"]
    assert main(["train", "ppo", *given, *run]) == 0, capsys.readouterr().err
    assert math.isfinite(json.loads(lines(run_of(tmp_path, "run"))[-1])["discriminator_loss"])


def test_a2c_trpo_and_a_recurrent_policy_imitate_too(expert: EpisodeData, tmp_path: Path) -> None:
    more = ["--recurrent", "lstm", "--memory-size", "8"]
    assert main(words(tmp_path, "run", 128, *more)) == 0
    for agent in ("a2c", "trpo"):
        assert main([word if word != "ppo" else agent for word in words(tmp_path, "run", 128)]) == 0
        (run,) = tmp_path.glob(f"*/{agent}/run")
        assert "discriminator_loss" in json.loads(lines(run)[-1])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("--gail nowhere-v0", "gail nowhere-v0: unknown data set 'nowhere-v0'"),
        (f"--gail {NAME} --gail-episodes 21", "gail_episodes 21 are more than the 20 of data set walk/expert-v0"),
        (f"--gail {NAME} --gail-episodes 0", "--gail-episodes must be >= 1, got 0"),
        (f"--gail {NAME} --gail-updates 0", "--gail-updates must be >= 1, got 0"),
        (f"--gail {NAME} --gail-learning-rate 0", "--gail-learning-rate must be > 0, got 0.0"),
        (f"--gail {NAME} --gail-reward fair", "--gail-reward must be one of positive, negative, airl, got fair"),
        (f"--gail {NAME} --gail-network mlps", "--gail-network must be one of auto, "),
        (f"--gail {NAME} --gail-regulariser none --gail-penalty 1", "--gail-penalty 1.0 has no effect"),
        (f"--gail {NAME} --gamma 1", "--gail-absorbing needs gamma below 1"),
        (f"--gail {NAME} --life-loss", "--gail-absorbing cannot be combined with --life-loss"),
        (f"--gail {NAME} --reward-model run", "cannot be combined with --reward-model"),
        (f"--gail {NAME} --seeds 0:2", "cannot be used in a population"),
        ("--gail-updates 2", "--gail-updates needs gail DATASET"),
        (f"--gail {NAME} --env CartPole-v1", "has observations float32 [3], but those of CartPole-v1 are float32 [4]"),
        (f"--gail {NAME} --env PUSH", "has actions Discrete(3, start=5), but those of"),
        ("--gail parts/set-v0 --gail-regulariser r1 --env PARTS", "gail_regulariser r1 needs Box observations"),
    ],
)
def test_mistakes_cost_one_line(
    given: str, message: str, expert: EpisodeData, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if "parts" in given:
        worlds.record("parts/set-v0", worlds.here(worlds.Parts), steps=30)
    given = given.replace("PUSH", worlds.here(worlds.Push)).replace("PARTS", worlds.here(worlds.Parts))
    env = [] if "--env" in given else ["--env", worlds.here(worlds.Walk)]
    capsys.readouterr()
    assert main(["train", "ppo", *given.split(), *env, "--steps", "50", "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1
    assert message in said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "changes"),
    [("workers", {"workers": 2, "optimizer": "a3c-rmsprop"}), ("cuda_graphs", {"cuda_graphs": True})],
)
def test_what_it_cannot_be_combined_with(name: str, changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"gail {NAME} cannot be combined with {name}"):
        ActorCriticConfig(gail=NAME, **changes)


def test_without_it_the_numbers_are_those_of_an_agent_that_never_heard_of_it() -> None:
    plain = PPO(BOX, TWO, ActorCriticConfig(), seed=4)
    imitating = PPO(BOX, TWO, ActorCriticConfig(gail=NAME), seed=4)
    assert plain.learned_reward is None
    assert "learned_reward" not in plain.state_dict()
    assert torch.equal(plain.weights.data, imitating.weights.data)  # its own random numbers come after the agent's
    order = [each._generator.get_state() for each in (plain, imitating)]
    assert torch.equal(*order)
