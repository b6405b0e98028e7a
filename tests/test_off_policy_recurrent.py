"""Off-policy actor-critics with a memory (rows 14, 16): losses against naive loops, acting, exact resume, learning."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import Tensor

from gymnast import envs
from gymnast.agents import OffPolicyActorCritic, OffPolicyActorCriticConfig
from gymnast.agents.base import Acted
from gymnast.agents.table import ALGORITHMS
from gymnast.envs.step import Step
from gymnast.evaluation.play import evaluate
from gymnast.replay.sequences import SequenceBatch, SequenceReplay
from gymnast.training.loop import Loop
from gymnast.training.train import resume, train
from tests.test_resume import last_state, options, same

OBS = spaces.Box(-np.inf, np.inf, (3,), np.float32)
BOX = spaces.Box(np.array([-2.0, 0.0], np.float32), np.array([2.0, 5.0], np.float32))
PREFIX, LENGTH, ROWS, N = 3, 5, 3, 2
STEPS = PREFIX + LENGTH + N
SMALL: dict[str, Any] = {
    "memory_size": 6,
    "sequence_length": LENGTH,
    "burn_in": PREFIX,
    "sequence_period": 4,
    "hidden_sizes": (8, 8),
    "batch_size": 4,
    "replay_size": 400,
    "learning_starts": 20,
    "n_step": N,
}
CELLS = ("lstm", "gru")


@pytest.fixture(autouse=True)
def one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def config(name: str = "sac", cell: Any = "lstm", **changes: Any) -> OffPolicyActorCriticConfig:
    return OffPolicyActorCriticConfig(**{**ALGORITHMS[name].changes, **SMALL, "recurrent": cell, **changes})


def agent(name: str = "sac", cell: Any = "lstm", space: Any = BOX, num_envs: int = 2, **changes: Any) -> Any:
    made = OffPolicyActorCritic(OBS, space, config(name, cell, **changes), num_envs=num_envs, seed=3)
    for weights in (made.target, made.target_policy):
        for parameter in weights.parameters():  # otherwise they compute what the online networks do
            parameter.data.mul_(0.7)
    return made


def a_batch(made: Any, *, starts: float = 0.2, seed: int = 3) -> SequenceBatch:
    rng = torch.Generator().manual_seed(seed)
    if made.bounds is None:
        taken = torch.randint(0, made.policy.outputs, (ROWS, STEPS), generator=rng)
    else:
        taken = torch.rand(ROWS, STEPS, 2, generator=rng) * 2 - 1
    start = torch.rand(ROWS, STEPS, generator=rng) < starts
    return SequenceBatch(
        memory=torch.randn(ROWS, made.histories.memory_size, generator=rng),
        prefix_obs=torch.randn(ROWS, PREFIX, 3, generator=rng),
        prefix_start=start[:, :PREFIX],
        obs=torch.randn(ROWS, LENGTH + N, 3, generator=rng),
        start=start[:, PREFIX:],
        action=taken[:, PREFIX : PREFIX + LENGTH],
        reward=torch.randn(ROWS, LENGTH, generator=rng),
        discount=torch.rand(ROWS, LENGTH, generator=rng) * (torch.rand(ROWS, LENGTH, generator=rng) < 0.8),
        successor=torch.arange(LENGTH) + 1 + torch.randint(0, N, (ROWS, LENGTH), generator=rng),
        next_mask=None,
        valid=(torch.rand(ROWS, LENGTH, generator=rng) < 0.8).float(),
        weight=torch.rand(ROWS, generator=rng),
        index=torch.arange(ROWS),
        taken=taken,
    )


# A naive form of everything that a loss computes from a batch: row by row and step by step, by autograd.


def unrolled(made: Any, batch: SequenceBatch, row: int, network: Any) -> list[Tensor]:
    """What the layers of a network read in each of the L + n steps, [F]; the prefix without gradient."""
    width = made.network.history.memory_size
    whole = batch.memory[row]
    action = whole[width : width + made.histories.actions]
    policy = hasattr(network, "layers")
    memory = whole[:width] if policy else whole[width + made.histories.actions :]
    obs = torch.cat([batch.prefix_obs[row], batch.obs[row]])
    start = torch.cat([batch.prefix_start[row], batch.start[row]])
    outputs = []
    for step in range(STEPS):
        if start[step]:
            action, memory = torch.zeros_like(action), torch.zeros_like(memory)
        seen = torch.cat([obs[step], action]).unsqueeze(0)
        with torch.set_grad_enabled(torch.is_grad_enabled() and step >= PREFIX):
            output, after = network.history.core.step(seen, memory.unsqueeze(0))
        memory = after[0]
        outputs.append(torch.cat([output[0], obs[step]]))
        taken = batch.taken[row, step]  # type: ignore[index]
        action = torch.nn.functional.one_hot(taken, made.histories.actions).float() if taken.dim() == 0 else taken
    return outputs[PREFIX:]


def layers(members: Any, number: int, features: Tensor) -> Tensor:
    """One member's plain linear layers with ReLU."""
    last = len(members.weights) - 1
    for place, (weight, bias) in enumerate(zip(members.weights, members.biases, strict=True)):
        features = weight[number] @ features + bias[number]
        features = features.relu() if place < last else features
    return features


def drawn(made: Any, output: Tensor, noise: Tensor | None) -> tuple[Tensor, Tensor | float]:
    """A Box action in [-1, 1] and its log-density, by torch's own distributions."""
    if made.config.policy == "deterministic":
        action = output.tanh()
        if noise is not None:
            action = (action + (made.policy.noise * noise).clamp(-0.5, 0.5)).clamp(-1, 1)
        return action, 0.0
    mean, log_std = output.chunk(2)
    raw = mean + log_std.exp() * (0.0 if noise is None else noise)
    density = torch.distributions.Normal(mean, log_std.exp()).log_prob(raw) - torch.log(1 - raw.tanh() ** 2)
    return raw.tanh(), density.sum()


def naive_critic_loss(made: Any, batch: SequenceBatch, noise: Tensor) -> tuple[Tensor, list[float]]:
    """The loss, and the priority of each sequence."""
    alpha, total, priorities = made.temperature.value, torch.zeros(()), []
    actor = made.target_policy if made.config.policy == "deterministic" else made.network
    for row in range(ROWS):
        online, errors = unrolled(made, batch, row, made.online), []
        with torch.no_grad():
            target, policy = (unrolled(made, batch, row, network) for network in (made.target, actor))
        for step in range(LENGTH):
            if not batch.valid[row, step]:
                continue
            after = int(batch.successor[row, step])
            with torch.no_grad():
                output = layers(actor.layers, 0, policy[after])
                action, density = drawn(made, output, noise[row * LENGTH + step])
                seen = torch.cat([target[after], action])
                value = min(layers(made.target.critics, member, seen) for member in range(made.config.critics))
                aim = batch.reward[row, step] + batch.discount[row, step] * (value - alpha * density)
            seen = torch.cat([online[step], batch.action[row, step]])
            wrong = [layers(made.online.critics, member, seen) - aim for member in range(made.config.critics)]
            total = total + batch.weight[row] * sum(error.square().sum() for error in wrong)
            errors.append(sum(error.abs().item() for error in wrong) / len(wrong))
        priorities.append(0.9 * max(errors) + 0.1 * float(np.mean(errors)) if errors else 0.0)
    return total / batch.valid.sum(), priorities


def naive_policy_loss(made: Any, batch: SequenceBatch, noise: Tensor | None) -> Tensor:
    alpha, total = made.temperature.value, torch.zeros(())
    for row in range(ROWS):
        policy = unrolled(made, batch, row, made.network)
        with torch.no_grad():
            online = unrolled(made, batch, row, made.online)
        for step in range(LENGTH):
            if batch.valid[row, step]:
                output = layers(made.network.layers, 0, policy[step])
                action, density = drawn(made, output, None if noise is None else noise[row * LENGTH + step])
                seen = torch.cat([online[step], action])
                values = [layers(made.online.critics, member, seen) for member in range(made.config.critics)]
                value = values[0] if made.config.policy_value == "first" else min(values)
                total = total + alpha * density - value.sum()
    return total / batch.valid.sum()


def equal_gradients(made: Any, module: Any, loss: Tensor, expected: Tensor) -> None:
    """Both losses have the same gradient by the module's parameters, and it is none of nothing."""
    parameters = list(module.parameters())
    mine, theirs = (torch.autograd.grad(one, parameters, allow_unused=True) for one in (loss, expected))
    for one, other in zip(mine, theirs, strict=True):
        assert one is not None
        assert other is not None
        assert one.abs().max() > 0
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("name", ["sac", "td3", "ddpg"])
def test_critics_learn_by_a_naive_loop(name: str, cell: str) -> None:
    """Memories and burn-in, targets at the successors, weights, steps without a transition, priorities, gradients."""
    made = agent(name, cell)
    batch, draws = a_batch(made), made._draw(ROWS * LENGTH)
    loss, error, _ = made.losses.of_critics(batch, draws)
    expected, priorities = naive_critic_loss(made, batch, draws.next_action)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-4)
    assert error.tolist() == pytest.approx(priorities, rel=1e-4)
    equal_gradients(made, made.online, loss, expected)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("name", ["sac", "td3", "ddpg"])
def test_policies_learn_by_a_naive_loop(name: str, cell: str) -> None:
    """Only the policy and its own recurrent layer learn."""
    made = agent(name, cell)
    batch, draws = a_batch(made), made._draw(ROWS * LENGTH)
    loss, entropy, _ = made.losses.of_policy(batch, draws)
    expected = naive_policy_loss(made, batch, draws.action if name == "sac" else None)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-4)
    assert len(entropy) == batch.valid.sum()
    assert all(
        grad is None
        for grad in torch.autograd.grad(loss, list(made.online.parameters()), allow_unused=True, retain_graph=True)
    )
    equal_gradients(made, made.network, loss, expected)


@pytest.mark.parametrize("place", range(STEPS))
def test_an_episode_may_begin_at_every_index(place: int) -> None:
    """Row 16: in the prefix, at its end, in the steps learned from and in those that targets bootstrap from."""
    made = agent("sac", "gru")
    batch = a_batch(made, starts=0.0)
    (batch.prefix_start if place < PREFIX else batch.start)[1, place % PREFIX if place < PREFIX else place - PREFIX] = (
        True
    )
    draws = made._draw(ROWS * LENGTH)
    loss = made.losses.of_critics(batch, draws)[0]
    assert loss.item() == pytest.approx(naive_critic_loss(made, batch, draws.next_action)[0].item(), rel=1e-4)
    policy_loss = made.losses.of_policy(batch, draws)[0]
    assert policy_loss.item() == pytest.approx(naive_policy_loss(made, batch, draws.action).item(), rel=1e-4)
    batch.memory[1] = 9.0  # of no meaning from there on
    after = unrolled(made, batch, 1, made.online)
    batch.memory[1] = 0.0
    for step, (one, other) in enumerate(zip(after, unrolled(made, batch, 1, made.online), strict=True)):
        assert torch.equal(one, other) == (step + PREFIX >= place)


def test_choices_are_expectations_over_what_is_allowed() -> None:
    made = agent(space=spaces.Discrete(3))
    batch = a_batch(made)
    batch.mask, batch.next_mask = torch.ones(2, ROWS, LENGTH, 3, dtype=torch.bool).unbind()
    batch.next_mask[..., 0] = False
    loss, *_ = made.losses.of_critics(batch, made._draw(ROWS * LENGTH))
    total = 0.0
    with torch.no_grad():
        for row in range(ROWS):
            networks = (made.online, made.target, made.network)
            online, target, policy = (unrolled(made, batch, row, network) for network in networks)
            for step in range(LENGTH):
                after, action = int(batch.successor[row, step]), int(batch.action[row, step])
                log_prob = layers(made.network.layers, 0, policy[after])[1:].log_softmax(0)
                both = torch.stack([layers(made.target.critics, member, target[after]) for member in range(2)])
                value = (log_prob.exp() * (both.amin(0)[1:] - made.temperature.value * log_prob)).sum()
                aim = batch.reward[row, step] + batch.discount[row, step] * value
                errors = [layers(made.online.critics, member, online[step])[action] - aim for member in range(2)]
                total += float(batch.weight[row] * batch.valid[row, step] * sum(e**2 for e in errors))
    assert loss.item() == pytest.approx(total / batch.valid.sum().item(), rel=1e-4)


def test_a_batch_without_a_transition_changes_nothing() -> None:
    made = agent()
    batch, draws = a_batch(made), made._draw(ROWS * LENGTH)
    batch.valid[:] = 0.0
    loss, error, _ = made.losses.of_critics(batch, draws)
    policy_loss, entropy, metrics = made.losses.of_policy(batch, draws)
    before = made.temperature.value.item()
    made.temperature.learn(entropy)
    assert loss.item() == policy_loss.item() == metrics["entropy"].item() == 0.0
    assert error.tolist() == [0.0] * ROWS
    assert made.temperature.value.item() == before


# Acting, and what the replay holds.


class Recall(gym.Env[Any, Any]):
    """A cue of -1 or 1 is seen once; three steps later the reward is the action times the cue."""

    observation_space = spaces.Box(-1.0, 1.0, (2,), np.float32)
    action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.cue, self.time = float(self.np_random.choice([-1.0, 1.0])), 0
        return np.array([self.cue, 0.0], np.float32), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        asked = self.time == 3
        self.time += 1
        return np.array([0.0, self.time == 3], np.float32), float(action[0]) * self.cue * asked, asked, False, {}


@pytest.fixture(scope="module", autouse=True)
def registered() -> Any:
    gym.register("Recall-v0", Recall)
    yield
    del gym.registry["Recall-v0"]


def looped(chosen: Any, env: str, *, num_envs: int, steps: int, seed: int = 0, **settings: Any) -> Loop:
    made = envs.make(env, num_envs, device="cpu", seed=np.random.SeedSequence(seed), **settings)
    made.reset()
    spaces_of = made.single_observation_space, made.single_action_space
    learner = OffPolicyActorCritic(*spaces_of, chosen, num_envs=num_envs, seed=seed)
    loop = Loop(learner, learner.actor(num_envs, explore=True, seed=seed), made)
    loop.advance(steps, lambda: False)
    return loop


@pytest.mark.parametrize("env", ["Recall-v0", "gymnast/Memory-v0"])
@pytest.mark.parametrize("cell", CELLS)
def test_a_sequence_is_what_was_acted_on(cell: str, env: str) -> None:
    """With weights that do not change: stored memories are the actor's, and unrolling gives the outputs acted on."""
    made = envs.make(env, 2, device="cpu", seed=np.random.SeedSequence(0))
    chosen = config("sac", cell, learning_starts=30)
    learner: Any = OffPolicyActorCritic(made.single_observation_space, made.single_action_space, chosen, num_envs=2)
    actor: Any = learner.actor(2, explore=True, seed=0)
    obs, start = made.reset(), made.start
    kept: dict[int, tuple[Tensor, Tensor, Acted]] = {}  # by slot
    for _ in range(70):
        acted = actor.act(obs, start)
        assert not acted.memory[start].any()
        output = learner.network(actor._features)
        step = made.step(acted.action)
        learner.store(obs, acted, step)
        ring = learner.replay.ring
        for row in range(2):
            kept[int((ring.slot[row] - 2) % ring.slots)] = acted.memory[row], output[row].detach(), acted.raw[row]
        obs, start = step.obs, step.start
    checked = 0
    for _ in range(8):
        batch = learner.replay.sample()
        with torch.no_grad():
            seen = learner.losses._seen(learner.online.encoder, batch)
        for place, begin in enumerate(learner.replay._begin(batch.index.numpy()).tolist()):
            slots = [(begin + 2 * step) % ring.slots for step in range(STEPS)]
            if slots[0] in kept:
                assert torch.equal(batch.memory[place], kept[slots[0]][0])
            for step, slot in enumerate(slots[PREFIX : PREFIX + LENGTH]):
                if not batch.valid[place, step]:
                    continue
                memory, output, raw = kept[slot]
                width = learner.network.history.memory_size
                before = memory[width : width + learner.histories.actions]
                assert torch.equal(seen.rest.before[place, step], before)
                assert torch.equal(batch.action[place, step], raw)
                found = learner.network(remembered_policy(learner, seen)[place, step].unsqueeze(0))[0]
                torch.testing.assert_close(found, output, rtol=1e-5, atol=1e-6)
                checked += 1
    assert checked > 50


@torch.no_grad()
def remembered_policy(learner: Any, seen: Any) -> Tensor:
    from gymnast.agents.off_policy.sequence_losses import remembered

    return remembered(learner.network, seen)


@pytest.mark.parametrize("terminates", [False, True])
def test_truncation_bootstraps_from_the_final_observation(terminates: bool) -> None:
    """Row 2, in sequences: an end by time keeps its discount, and the next step is the episode's last observation."""
    learner = agent(num_envs=1, n_step=1, sequence_period=1)
    actor, no, yes = learner.actor(1, explore=True, seed=0), torch.tensor([False]), torch.tensor([True])
    obs, start = torch.zeros(1, 3), yes
    for step in range(1, 41):
        acted, ends = actor.act(obs, start), step % 4 == 0
        final = torch.full((1, 3), float(step))
        after = torch.full((1, 3), -float(step)) if ends else final
        end = yes if ends else no
        kinds = {"terminated": end, "truncated": no} if terminates else {"terminated": no, "truncated": end}
        learner.store(obs, acted, Step(after, end, final, torch.ones(1), **kinds, num_active=1, num_ended=int(ends)))
        obs, start = after, end
    batch: SequenceBatch = learner.replay.sample()
    ended = 0
    for row in range(4):
        for step in range(LENGTH):
            follows = batch.obs[row, int(batch.successor[row, step]), 0].item()
            if batch.valid[row, step] and follows % 4 == 0:
                ended += 1
                assert follows > 0
                assert batch.discount[row, step].item() == pytest.approx(0.0 if terminates else 0.99)
                assert bool(batch.start[row, int(batch.successor[row, step]) + 1 :].any()) or step == LENGTH - 1
    assert ended > 3


PARTS: list[tuple[str, dict[str, Any]]] = [
    ("sac", {"prioritized": True}),
    ("td3", {"burn_in": 0, "recurrent": "gru"}),
    ("ddpg", {"exploration": "ornstein-uhlenbeck"}),
    ("tqc", {"prioritized": True, "priority": "rank"}),
    ("redq", {"updates_per_train": 1}),
    ("droq", {"updates_per_train": 1}),
]


@pytest.mark.parametrize(("name", "parts"), PARTS, ids=lambda part: part if isinstance(part, str) else "")
def test_every_part_learns_from_sequences(name: str, parts: dict[str, Any]) -> None:
    chosen = replace(config(name), **parts)
    before = OffPolicyActorCritic(Recall.observation_space, Recall.action_space, chosen, num_envs=2, seed=0)
    loop = looped(chosen, "Recall-v0", num_envs=2, steps=110)
    learner: Any = loop.agent
    assert learner.updates > 20
    assert all(np.isfinite(float(value)) for value in loop.metrics.values())
    for mine, theirs in ((before.online, learner.online), (before.network, learner.network)):
        changed = [
            bool((one != other).any()) for one, other in zip(mine.parameters(), theirs.parameters(), strict=True)
        ]
        assert all(changed)
    assert isinstance(learner.replay, SequenceReplay)


def test_images_are_seen_by_an_encoder_that_only_the_critics_train() -> None:
    space = spaces.Box(0, 255, (3, 36, 36), np.uint8)
    learner = OffPolicyActorCritic(space, BOX, config(network="nature-cnn"), num_envs=1, seed=0)
    actor, no = learner.actor(1, explore=True, seed=0), torch.zeros(1, dtype=torch.bool)
    obs = torch.zeros(1, 3, 36, 36, dtype=torch.uint8)
    for step in range(40):
        acted = actor.act(obs, torch.tensor([step == 0]))
        learner.store(obs, acted, Step(obs + 1, no, obs + 1, torch.ones(1), no, no, num_active=1, num_ended=0))
        obs = obs + 1
    batch = learner.allocate().sample()
    draws = learner._draw(4 * LENGTH)
    encoder = list(learner.online.encoder.parameters())
    loss = learner.losses.of_critics(batch, draws)[0]  # type: ignore[arg-type]
    assert all(grad.abs().sum() > 0 for grad in torch.autograd.grad(loss, encoder))
    policy_loss = learner.losses.of_policy(batch, draws)[0]  # type: ignore[arg-type]
    assert torch.autograd.grad(policy_loss, encoder, allow_unused=True) == (None,) * len(encoder)


def test_evaluations_have_a_memory_of_their_own() -> None:
    loop = looped(config(), "Recall-v0", num_envs=2, steps=60)
    before = loop.actor.state_dict()
    env = envs.make("Recall-v0", 3, device="cpu", seed=np.random.SeedSequence(1))
    play: dict[str, Any] = {"episodes": 5, "seed": 0, "name": "sac", "interrupted": lambda: False}
    assert evaluate(loop.agent, env, **play).returns == evaluate(loop.agent, env, **play).returns
    same(before, loop.actor.state_dict())
    other = loop.agent.actor(2, explore=True, seed=9)
    other.load_state_dict(before)
    obs, start = loop.env.obs, loop.env.start
    mine, theirs = ({"action": one.act(obs, start).action, **one.state_dict()} for one in (other, loop.actor))
    same(mine, theirs)


def test_a_decision_is_the_actors_and_remembers() -> None:
    for space in (BOX, spaces.Discrete(3)):
        learner = agent(space=space)
        actor, memory = learner.actor(2, explore=False, seed=0), None
        for step in range(4):
            obs = torch.randn(2, 3, generator=torch.Generator().manual_seed(step))
            acted = actor.act(obs, torch.full((2,), step == 0))
            decision = learner.decide(obs, memory)
            memory = decision.memory
            greedy = decision.preference.tanh() if space is BOX else decision.preference.argmax(1)
            torch.testing.assert_close(greedy, acted.raw)
            torch.testing.assert_close(memory, actor.memory)
            assert memory.shape[1] == learner.decision_memory


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"burn_in": -1}, "burn_in must be >= 0, got -1"),
        ({"sequence_period": 6}, "sequence_period must be <= sequence_length 5, got 6"),
        ({"recurrent": "transformer"}, "recurrent must be one of none, lstm, gru, got 'transformer'"),
        ({"augment": "shift"}, "augment needs recurrent none, got lstm"),
        ({"hindsight": "final"}, "hindsight needs recurrent none, got lstm"),
        ({"compile": True}, "compile needs recurrent none, got lstm"),
        ({"critic_norm": "batch-renorm"}, "recurrent lstm needs target_network and no batch-renorm"),
        ({"target_network": False}, "recurrent lstm needs target_network and no batch-renorm"),
    ],
)
def test_what_a_memory_cannot_be_combined_with(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(config(), **changes)


def test_other_devices_are_refused() -> None:
    with pytest.raises(ValueError, match="recurrent lstm needs device cpu"):
        OffPolicyActorCritic(OBS, BOX, config(), device="cuda")


@pytest.mark.parametrize(("name", "num_envs", "cell"), [("sac", 1, "gru"), ("td3", 3, "lstm")])
def test_resumed_equals_uninterrupted(tmp_path: Path, name: str, num_envs: int, cell: str) -> None:
    steps, chosen = 83, config(name, cell, prioritized=True)
    settings: dict[str, Any] = {"num_envs": num_envs, "eval_every": 50}
    whole = train(name, options(tmp_path / "a", "Pendulum-v1", steps=2 * steps, **settings), chosen)
    half = train(name, options(tmp_path / "b", "Pendulum-v1", steps=steps, **settings), chosen)
    assert whole.exit_code == half.exit_code == 0
    rest = resume(half.path, steps=2 * steps)
    assert (rest.path / "metrics.jsonl").read_bytes() == (whole.path / "metrics.jsonl").read_bytes()
    mine, theirs = last_state(whole.path), last_state(rest.path)
    assert mine["actor"]["memory"].abs().sum() > 0
    same(mine, theirs)


# Learning.


LEARNING: dict[str, Any] = {
    "hidden_sizes": (32, 32),
    "learning_rate": 3e-3,
    "learning_starts": 200,
    "tau": 0.02,
    "gamma": 0.9,
    "replay_size": 10_000,
    "n_step": 1,
}
SEQUENCES = {"memory_size": 16, "sequence_length": 8, "burn_in": 0, "sequence_period": 4, "batch_size": 16}


def recalls(name: str, cell: str, steps: int, **changes: Any) -> float:
    """The mean return of the greedy policy over 100 episodes; 1 is the best, that of a guess is 0."""
    own = {**LEARNING, **(SEQUENCES if cell != "none" else {"batch_size": 128}), **changes}
    loop = looped(config(name, cell, **own), "Recall-v0", num_envs=4, steps=steps)
    env = envs.make("Recall-v0", 10, device="cpu", seed=np.random.SeedSequence(1))
    return evaluate(loop.agent, env, episodes=100, seed=3, name=name, interrupted=lambda: False).mean_return


SOFT = {"target_entropy": -2.0, "initial_temperature": 0.1}


@pytest.mark.parametrize(
    ("name", "cell", "steps", "changes"),
    [("sac", "gru", 1_200, SOFT | {"train_period": 4}), ("td3", "lstm", 800, {"train_period": 2})],
)
def test_a_memory_recalls_what_was_seen(name: str, cell: str, steps: int, changes: dict[str, Any]) -> None:
    assert recalls(name, cell, steps, **changes) > 0.9


def test_without_a_memory_nothing_is_recalled() -> None:
    assert abs(recalls("sac", "none", 1_200, **SOFT, train_period=4)) < 0.5
