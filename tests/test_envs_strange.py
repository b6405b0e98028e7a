"""Environments as people write them: what is right is taken as it is meant, what is not is one true line."""

import sys
import warnings
from collections.abc import Callable, Iterator
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces

from gymnast import envs
from gymnast.agents import PPO, QLearning, QLearningConfig
from gymnast.cli.main import main
from gymnast.envs.errors import EnvError, EnvWarning, cause
from gymnast.envs.foreign import step_of
from gymnast.envs.trial import why_not_restored
from tests.incoming import PLAIN, Agents, Exits, Panic, Scripted, Specs, UnprintableError, Unseeded
from tests.test_envs_incoming import made, play

IN_PROCESS = pytest.mark.parametrize("vectorization", ["serial", "vector"])
WORKERS = pytest.param("async", marks=pytest.mark.slow)


def raised(env: Any) -> str:
    with pytest.raises(EnvError) as caught:
        play(env)
    assert "\n" not in str(caught.value)
    env.close()
    return str(caught.value)


@pytest.mark.parametrize("number", [Fraction(1), Decimal(1), np.float16(1.0), np.int8(1)])
def test_any_number_is_a_reward(number: Any) -> None:
    assert play(made("serial", reward=lambda value: number)) == ([3.0] * 4, [3] * 4)


def test_a_reward_too_large_for_a_float() -> None:
    assert "gave the reward 1000" in (said := raised(made("serial", reward=lambda value: 10**400)))
    assert said.endswith("which is too large for a float (step 1 of episode 1, row 0)")


@IN_PROCESS
@pytest.mark.parametrize(
    ("space", "obs", "message"),
    [
        (spaces.Box(-np.inf, np.inf, (2,), np.float64), lambda step: np.full(2, -1e300), "1e[+]300 .* float32 cannot"),
        (spaces.Box(0, 2**64 - 1, (2,), np.uint64), lambda step: np.full(2, 2**64 - 1, np.uint64), "int64 cannot hold"),
        (spaces.MultiBinary(2), lambda step: np.array([1, -1], np.int8), "-1 in an observation of bits"),
    ],
)
def test_no_number_is_wrapped_or_becomes_infinite(vectorization: str, space: Any, obs: Any, message: str) -> None:
    with pytest.raises(EnvError, match=message):
        play(made(vectorization, space=space, obs=obs))


def test_large_numbers_and_rounding_are_left_alone() -> None:
    """Their squares are infinite in float32."""
    space = spaces.Box(-np.inf, np.inf, (2,), np.float64)
    env = made("serial", space=space, obs=lambda step: np.array([-1e30, 0.1]))
    env.reset()
    assert torch.equal(env.obs, torch.tensor([[-1e30, 0.1]] * 2))  # type: ignore[arg-type]


@IN_PROCESS
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("part", [False, True])
def test_what_is_no_finite_number_is_one_line(vectorization: str, value: float, dtype: Any, part: bool) -> None:
    space: gym.Space[Any] = spaces.Box(-np.inf, np.inf, (2, 2), dtype)
    plain = lambda step: np.array([[1, 2], [3, value if step == 2 else 4]], dtype)  # noqa: E731
    obs = (lambda step: {"a": plain(step)}) if part else plain
    said = raised(made(vectorization, space=spaces.Dict({"a": space}) if part else space, obs=obs))
    assert f"gave {value} in an observation" in said
    assert "step 2" in said
    assert "row 0" in said


@pytest.mark.parametrize("call", ["step", "reset"])
def test_errors_say_in_which_of_several_rows(call: str) -> None:
    begun = iter(range(9))

    class Third(Scripted):
        def reset(self, **given: Any) -> Any:
            self.bad = next(begun) == 2
            if self.bad and call == "reset":
                raise OSError("gone")
            return super().reset(**given)

        def step(self, action: Any) -> Any:
            if self.bad:
                raise OSError("gone")
            return super().step(action)

    where = "step 1 of episode 1" if call == "step" else "episode 1"
    assert raised(envs.make(Third, 3)) == f"Third: {call} raised OSError: gone ({where}, row 2)"
    begun = iter(range(2, 9))
    assert raised(envs.make(Third, 1)) == f"Third: {call} raised OSError: gone ({where})"


@pytest.mark.slow
def test_errors_in_worker_processes_say_in_which_of_several_rows() -> None:
    said = raised(envs.make(lambda: Scripted(reward=lambda value: None), 3, vectorization="async"))
    assert said.endswith("which is not one number (step 1 of episode 1, row 0)")


class Growing(Scripted):
    """Its third episode has one more action, or a wider observation."""

    def __init__(self, *, name: str, equal: bool = False) -> None:
        super().__init__()
        self.begun, self.grows, self.equal = 0, name, equal

    def reset(self, **given: Any) -> Any:
        self.begun += 1
        if self.begun == 3:
            more = {"action_space": spaces.Discrete(3), "observation_space": spaces.Box(-10.0, 10.0, (3,), np.float32)}
            same = {"action_space": spaces.Discrete(2), "observation_space": spaces.Box(-10.0, 10.0, (2,), np.float32)}
            setattr(self, self.grows, (same if self.equal else more)[self.grows])
        return super().reset(**given)


@pytest.mark.parametrize("name", ["action_space", "observation_space"])
def test_spaces_that_change_are_one_line(name: str) -> None:
    said = raised(envs.make(lambda: Growing(name=name)))
    assert f"changed its {name} from " in said
    assert said.endswith("(reset of episode 3)")
    assert play(envs.make(lambda: Growing(name=name, equal=True)), 12) == ([3.0] * 4, [3] * 4)


class GrowingVector(gym.vector.SyncVectorEnv):
    def __init__(self, call: str) -> None:
        super().__init__([Scripted] * 2)
        self.call_that_grows = call

    def _grow(self, call: str) -> None:
        if call == self.call_that_grows:
            self.single_action_space = spaces.Discrete(3)

    def reset(self, **given: Any) -> Any:
        self._grow("reset")
        return super().reset(**given)

    def step(self, actions: Any) -> Any:
        self._grow("step")
        return super().step(actions)


@pytest.mark.parametrize(("call", "where"), [("reset", "reset"), ("step", "step 3")])
def test_spaces_of_a_vector_environment_that_change_are_one_line(call: str, where: str) -> None:
    """After a step it is noticed when the next episode ends."""
    said = raised(envs.make(GrowingVector(call)))
    assert "changed its single_action_space from Discrete(2) to Discrete(3): agents are made for one" in said
    assert said.endswith(f"({where})")


def test_not_a_number_ends_the_run_of_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It fits no cell; an infinity would fit the outermost one of bins whose bounds the user gave."""
    (tmp_path / "holes.py").write_text(
        "import numpy as np\n"
        "from tests.incoming import Scripted\n"
        "def hole():\n"
        "    return Scripted(obs=lambda step: np.array([0.0, np.nan if step == 2 else 1.0], np.float32))\n"
    )
    words = ["train", "q-learning", "--env", f"{tmp_path / 'holes.py'}:hole", "--steps", "20", "--out", str(tmp_path)]
    assert main([*words, "--name", "run", "--no-video"]) == 1
    said = [line for line in capsys.readouterr().err.splitlines() if "nan" in line]
    assert len(said) == 1
    assert "holes.py:hole gave nan in an observation" in said[0]
    assert "(step 2 of episode 1, row 0)" in said[0]
    assert list(tmp_path.glob("**/checkpoints/last.pt"))


@pytest.mark.parametrize(
    ("space", "obs", "message"),
    [
        (spaces.Dict({"a": PLAIN}), {"a": np.zeros(2), "more": 1}, "gave the part 'more' .* which its space does not"),
        (spaces.Tuple([PLAIN]), (np.zeros(2), 1), "gave 2 parts of an observation, but its space has 1"),
    ],
)
def test_parts_beyond_the_space_are_said(space: Any, obs: Any, message: str) -> None:
    with pytest.warns(EnvWarning, match=message):
        play(made("serial", space=space, obs=lambda step: obs))


def test_text_that_is_ignored_is_part_of_the_space() -> None:
    space = spaces.Dict({"text": spaces.Text(5), "x": PLAIN})
    with pytest.warns(EnvWarning, match="the text 'text' of its observations is ignored") as said:
        play(made("serial", space=space, obs=lambda step: {"text": "hello", "x": np.zeros(2)}))
    assert len(said) == 1


LOGITS = np.array([0.0, -np.inf])


@IN_PROCESS
@pytest.mark.parametrize("mask", [LOGITS, np.array([0, 2]), np.array([0.5, 1.0]), np.array([np.nan, 1.0])])
def test_a_mask_holds_zeros_and_ones(vectorization: str, mask: Any) -> None:
    said = raised(made(vectorization, info=lambda step: {"action_mask": mask}))
    assert "gave the action mask array([" in said
    assert "but a mask has" in said


@IN_PROCESS
def test_a_mask_that_only_steps_give_is_not_ignored(vectorization: str) -> None:
    said = raised(made(vectorization, info=lambda step: {"action_mask": np.array([1, 0])} if step else {}))
    assert "gave an 'action_mask' in the info" in said
    assert "none at its reset" in said


@IN_PROCESS
def test_a_table_learns_where_the_end_allows_nothing(vectorization: str) -> None:
    """Q-learning, gamma 0.5 and rate 1: Q(0), Q(1) and Q(2) are 1 + 0.5 (1 + 0.5), 1 + 0.5 and 1."""
    settings: dict[str, Any] = {"space": spaces.Discrete(4), "obs": int}
    env = made(vectorization, 1, info=lambda step: {"action_mask": [step < 3, False]}, **settings)
    config = QLearningConfig(gamma=0.5, alpha=1.0)
    agent = QLearning(env.single_observation_space, env.single_action_space, config)
    actor = agent.actor(1, explore=True, seed=0)
    env.reset()
    for step_number in range(12):
        obs = env.obs
        acted = actor.act(obs, env.start, env.action_mask)
        step = env.step(acted.action)
        if step_number % 3 == 2:
            assert step.next_action_mask is not None
            assert step.next_action_mask.tolist() == [[True, True]]
        agent.store(obs, acted, step)
        while agent.updates_due(agent.env_step):
            agent.learn()
    assert agent.q_table()[:3, 0].tolist() == [1.75, 1.5, 1.0]
    env.close()


def test_a_foreign_loop_may_end_where_nothing_is_allowed() -> None:
    env = Scripted(info=lambda step: {"action_mask": [step < 3, False]})
    begun = env.reset()
    for _ in range(2):
        assert step_of(env, env.step(0)).next_action_mask.tolist() == [[True, False]]  # type: ignore[union-attr]
    step = step_of(env, env.step(0), begun=begun)
    assert step.next_action_mask is not None
    assert step.action_mask is not None
    assert step.next_action_mask.tolist() == [[True, True]]
    assert step.action_mask.tolist() == [[True, False]]
    with pytest.raises(EnvError, match=r"the action mask \[False, False\], which allows no action"):
        step_of(env, (np.zeros(2), 1.0, False, False, {"action_mask": [0, 0]}))


class Other(Scripted):
    """Returns something else from `reset`, or from `step`."""

    def __init__(self, **answers: Any) -> None:
        super().__init__()
        self.answers = answers

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        answer = super().reset(seed=seed)
        return self.answers.get("reset", lambda answer: answer)(answer)

    def step(self, action: Any) -> Any:
        return self.answers.get("step", lambda answer: answer)(super().step(action))


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ({"reset": lambda answer: answer[0]}, "returned array.* from reset, which must return (observation, info)"),
        ({"reset": lambda answer: (answer[0], None)}, "None) from reset, which must return (observation, info)"),
        ({"reset": lambda answer: None}, "returned None from reset"),
        ({"step": lambda answer: (*answer[:3], {})}, "returned 4 values from step, which must return (observation, "),
        ({"step": lambda answer: (*answer, {})}, "returned 6 values from step"),
        ({"step": lambda answer: None}, "returned None from step"),
    ],
)
def test_another_interface_is_named(answers: dict[str, Any], message: str) -> None:
    said = raised(envs.make(lambda: Other(**answers)))
    first, _, rest = message.partition(".*")
    assert first in said
    assert rest in said
    assert " raised " not in said


@pytest.mark.parametrize("vectorization", ["serial", WORKERS, "vector"])
@pytest.mark.parametrize(
    ("error", "text"),
    [
        (SystemExit(3), "SystemExit: 3"),
        (Panic(), "Panic"),
        (UnprintableError(), "UnprintableError"),
        (GeneratorExit(), ""),
    ],
)
def test_whatever_an_environment_raises_is_one_line(vectorization: str, error: BaseException, text: str) -> None:
    def info(step: int) -> dict[str, Any]:
        if step == 2:
            raise error
        return {}

    said = raised(made(vectorization, info=info))
    assert f"step raised {text}" in said


def test_an_interrupt_stays_one() -> None:
    def info(step: int) -> dict[str, Any]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        made("serial", info=info).reset()


def test_the_cause_of_an_error_is_one_line() -> None:
    assert cause(ValueError("two\n  lines")) == "ValueError: two lines"
    assert cause(ValueError()) == "ValueError"
    assert cause(UnprintableError()) == "UnprintableError"


def without(name: str, value: Any = None) -> Callable[[], gym.Env[Any, Any]]:
    def build() -> gym.Env[Any, Any]:
        env = Scripted()
        setattr(env, name, value)
        return env

    return build


@pytest.mark.parametrize("vectorization", ["serial", WORKERS])
@pytest.mark.parametrize(
    ("build", "message"),
    [
        (without("observation_space"), "its observation_space must be a gymnasium space, got none"),
        (without("action_space", 4), "its action_space must be a gymnasium space, got an int, 4"),
        (without("metadata"), "its metadata must be a dict, got None"),
        (Unseeded, r"its reset takes no seed; define reset\(self, \*, seed=None, options=None\)"),
        (Specs, "returned a Specs, not a gymnasium.Env but one of dm_env, which the package shimmy converts"),
        (Agents, "returned an Agents, not a gymnasium.Env but one of several agents"),
        (lambda: gym.vector.SyncVectorEnv([Scripted]), "a vector environment is given to gymnast.train as it is"),
        (Exits, "cannot be made: SystemExit: no licence"),
    ],
)
def test_what_cannot_be_used_is_refused_before_anything_starts(vectorization: str, build: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        envs.make(build, vectorization=vectorization)
    assert "\n" not in str(caught.value)


@pytest.fixture
def usual() -> Iterator[None]:
    errors = np.geterr()
    yield
    np.seterr(**errors)  # type: ignore[arg-type]
    torch.set_default_dtype(torch.float32)
    torch.set_grad_enabled(True)


@pytest.mark.usefixtures("usual")
@pytest.mark.parametrize("where", ["built", "reset", "imported"])
def test_what_is_set_for_the_whole_process_is_set_back(where: str, tmp_path: Path) -> None:
    errors = np.geterr()

    class Setting(Scripted):
        def __init__(self) -> None:
            super().__init__()
            self.meddle("built")

        def meddle(self, when: str) -> None:
            if when == where:
                torch.set_default_dtype(torch.float64)
                torch.set_grad_enabled(False)
                np.seterr(all="raise")

        def reset(self, **settings: Any) -> Any:
            self.meddle("reset")
            return super().reset(**settings)

    file = tmp_path / "setting.py"
    file.write_text(
        "import numpy as np, torch\n"
        "torch.set_default_dtype(torch.float64), torch.set_grad_enabled(False), np.seterr(all='raise')\n"
        "from tests.incoming import Scripted\n"
    )
    said = "changed NumPy's error state and torch's default dtype and whether torch computes gradients"
    with pytest.warns(EnvWarning, match=said):
        envs.make(f"{file}:Scripted" if where == "imported" else Setting).reset()
    assert (torch.get_default_dtype(), torch.is_grad_enabled(), np.geterr()) == (torch.float32, True, errors)
    sys.modules.pop("setting", None)


def test_rewards_that_are_not_numbers_repeat_themselves() -> None:
    """NaN is the same NaN: a replay that leads to it leads where the environment was."""

    def build() -> gym.Env[Any, Any]:
        return Scripted(reward=lambda value: float("nan"))

    assert why_not_restored(build) is None


def test_the_trial_before_a_run_leaves_warnings_to_it() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", EnvWarning)
        assert why_not_restored(lambda: Scripted(obs=lambda step: np.full(2, 99.0, np.float32))) is None


def test_half_floats_are_learned_from() -> None:
    space = spaces.Box(-1.0, 1.0, (2,), np.float16)
    agent = PPO(space, spaces.Discrete(2))
    assert agent.predict(np.zeros(2, np.float16)) in (0, 1)
    actor = agent.actor(1, explore=True, seed=0)
    acted = actor.act(torch.zeros(1, 2, dtype=torch.float16), torch.ones(1, dtype=torch.bool))
    assert acted.action.shape == (1,)


@pytest.mark.parametrize("vectorization", ["serial", WORKERS])
def test_the_command_line_says_it_with_its_exit_codes(
    vectorization: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", "q-learning", "--steps", "20", "--out", str(tmp_path), "--vectorization", vectorization, "--env"]
    assert main([*words, f"{__name__}:Unseeded"]) == 2
    assert capsys.readouterr().err.count("its reset takes no seed") == 1
    assert list(tmp_path.iterdir()) == []
    assert main([*words, f"{__name__}:Leaves"]) == 1
    assert "Leaves: step raised SystemExit: 3 (step 2 of episode 1)" in capsys.readouterr().err
    assert len(list(tmp_path.glob("**/last.pt"))) == 1


class Leaves(Scripted):
    def __init__(self) -> None:
        super().__init__(space=spaces.Discrete(4), obs=int)

    def step(self, action: Any) -> Any:
        if self.at == 1:
            sys.exit(3)
        return super().step(action)
