"""DQN and Rainbow on Pong compared with their peers: env steps and updates per second, one process each, on the CPU.

    python benchmarks/atari_dqn.py [--threads 1 2] [--envs 8] [--rounds 3] [--steps 800] [--learning-starts 4000]
        [--warm-up 400] [--peer-python PATH] [--json FILE]
    python benchmarks/atari_dqn.py --only gymnast-rainbow --threads 1 --profile

The Nature CNN, batch 32, one update every 4 env steps, a replay of 20,000 transitions, which holds 4,000
(`--learning-starts`) when learning begins; the timed steps follow `--warm-up` more. The contenders take turns within a
round; all have the same number of torch's threads. Stable-Baselines3 and Tianshou come with `pip install -e .[bench]`,
or are in another environment's interpreter (`--peer-python`). `--only` runs one contender, `--profile` prints its time
by torch's operators.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import contest
from contest import Profiler, Result, Timed, clocked

ENV = "PongNoFrameskip-v4"
BATCH, PERIOD, REPLAY, TARGET = 32, 4, 20_000, 8_000
GAMMA, LEARNING_RATE, EPSILON, ATOMS, V_MAX, N_STEP, ALPHA, BETA = 0.99, 1e-4, 0.05, 51, 10.0, 3, 0.5, 0.4
TIANSHOU_KEPT = {"ignore_obs_next": True, "save_only_last_obs": True, "stack_num": 4}
TARGETS = {
    "gymnast-dqn": {"sb3-dqn": 1.7, "tianshou-dqn": 1.5},
    "gymnast-rainbow": {"tianshou-rainbow": 2.0},
}
"""How many times as fast as a peer an agent of ours is to be."""


@dataclass(frozen=True)
class Task:
    """One contender's work."""

    rainbow: bool
    envs: int
    steps: int
    learning_starts: int
    warm_up: int

    @property
    def before(self) -> int:
        """Env steps before it is timed."""
        return self.learning_starts + self.warm_up

    def result(self, timed: Timed, updates: int) -> Result:
        return timed.result(self.steps, updates, expected=self.steps // PERIOD)


def run_gymnast(task: Task, profiler: Profiler) -> Result:
    """Our own loop, as `gymnast train` runs it, and where its time went."""
    from gymnast.agents import DQN
    from gymnast.envs import make
    from gymnast.training.loop import Loop

    env = make(ENV, task.envs, seed=0)
    agent = DQN(env.single_observation_space, env.single_action_space, _config(task), num_envs=task.envs, seed=0)
    env.reset()
    loop = Loop(agent, agent.actor(task.envs, explore=True, seed=0), env)
    loop.advance(task.before, lambda: False)
    spent = _clock(agent)
    before = dict(vars(loop.seconds))
    with profiler:
        timed = Timed(agent.updates)
        loop.advance(task.before + task.steps, lambda: False)
        result = task.result(timed, agent.updates)
    learn = spent.pop("learn")
    inner = sum(seconds for name, seconds in spent.items() if name != "store")
    spent = {name: vars(loop.seconds)[name] - before[name] for name in ("act", "env")} | spent
    spent["backward and the rest"] = learn - inner
    return {**result, "ms": {name: 1e3 * seconds / task.steps for name, seconds in spent.items()}}


def _config(task: Task) -> Any:
    from gymnast.agents import DQNConfig

    parts: dict[str, Any] = {"epsilon": EPSILON}
    if task.rainbow:
        parts = {"double": True, "dueling": True, "prioritized": True, "noisy": True, "n_step": N_STEP}
        parts |= {"values": "categorical", "atoms": ATOMS, "v_min": -V_MAX, "v_max": V_MAX}
        parts |= {"priority_alpha": ALPHA, "priority_beta": BETA}
    return DQNConfig(
        **parts,
        network="nature-cnn",
        batch_size=BATCH,
        learning_rate=LEARNING_RATE,
        gamma=GAMMA,
        replay_size=REPLAY,
        learning_starts=task.learning_starts,
        train_period=PERIOD,
        target_period=TARGET,
        clip_rewards=True,
    )


def _clock(agent: Any) -> dict[str, float]:
    """Sums up the seconds of an agent's parts from now on."""
    spent = dict.fromkeys(("store", "sample", "re-prioritise", "forward", "optimizer", "learn"), 0.0)
    update = agent._update
    for owner, method, name in (
        (agent, "store", "store"),
        (agent.replay, "sample", "sample"),
        (agent.replay.sampler, "update", "re-prioritise"),
        (update, "loss", "forward"),
        (update, "_step", "optimizer"),
        (agent, "learn", "learn"),
    ):
        setattr(owner, method, clocked(getattr(owner, method), spent, name))
    return spent


def run_stable_baselines3(task: Task, profiler: Profiler) -> Result:
    """Stable-Baselines3's DQN, by `learn`; it has no Rainbow."""
    import ale_py  # noqa: F401 - registers the games
    from stable_baselines3 import DQN
    from stable_baselines3.common.env_util import make_atari_env
    from stable_baselines3.common.vec_env import VecFrameStack

    model = DQN(
        "CnnPolicy",
        VecFrameStack(make_atari_env(ENV, n_envs=task.envs, seed=0), n_stack=4),
        learning_rate=LEARNING_RATE,
        buffer_size=REPLAY,
        learning_starts=task.learning_starts,
        batch_size=BATCH,
        gamma=GAMMA,
        train_freq=max(PERIOD // task.envs, 1),
        gradient_steps=max(task.envs // PERIOD, 1),
        target_update_interval=TARGET,
        exploration_initial_eps=EPSILON,
        exploration_final_eps=EPSILON,
        optimize_memory_usage=True,
        replay_buffer_kwargs={"handle_timeout_termination": False},
        device="cpu",
        seed=0,
    )
    model.learn(task.before)
    with profiler:
        timed = Timed(model._n_updates)
        model.learn(task.steps, reset_num_timesteps=False)
        return task.result(timed, model._n_updates)


def run_tianshou(task: Task, profiler: Profiler) -> Result:
    """Tianshou's DQN and Rainbow, by its off-policy trainer, with the networks of its Atari examples."""
    from tianshou.data import Collector
    from tianshou.trainer import OffPolicyTrainerParams

    vector = _tianshou_env(task.envs)
    algorithm, buffer = (_tianshou_rainbow if task.rainbow else _tianshou_dqn)(task, vector.action_space[0])
    collector = Collector(algorithm, vector, buffer, exploration_noise=True)
    collector.reset()
    collector.collect(n_step=task.learning_starts, random=True)
    learn, updates, results = algorithm._update_with_batch, 0, []
    begin, end = task.warm_up // PERIOD, (task.warm_up + task.steps) // PERIOD

    def clocked_learn(*args: Any, **kwargs: Any) -> Any:
        """Times from one update to another: a trainer takes long to begin, for it copies the replay."""
        nonlocal updates
        if updates == begin:
            profiler.__enter__()
            results.append(Timed(updates))
        if updates == end:
            results[0] = task.result(results[0], updates)
            profiler.__exit__(None, None, None)
        updates += 1
        return learn(*args, **kwargs)

    algorithm._update_with_batch = clocked_learn
    algorithm.run_training(
        OffPolicyTrainerParams(
            training_collector=collector,
            max_epochs=1,
            epoch_num_steps=task.warm_up + task.steps + 2 * max(PERIOD, task.envs),
            collection_step_num_env_steps=max(PERIOD, task.envs),
            update_step_num_gradient_steps_per_sample=1 / PERIOD,
            batch_size=BATCH,
            verbose=False,
            show_progress=False,
        )
    )
    return results[0]


def _tianshou_env(envs: int) -> Any:
    import ale_py
    import gymnasium
    from gymnasium.wrappers import AtariPreprocessing, FrameStackObservation
    from tianshou.env import DummyVectorEnv

    gymnasium.register_envs(ale_py)

    def game() -> gymnasium.Env[Any, Any]:  # Tianshou's own wrappers do not run with NumPy 2.4
        return FrameStackObservation(AtariPreprocessing(gymnasium.make(ENV)), 4)

    return DummyVectorEnv([game] * envs)


def _tianshou_dqn(task: Task, action_space: Any) -> tuple[Any, Any]:
    """The algorithm and its replay."""
    from tianshou.algorithm import DQN
    from tianshou.algorithm.modelfree.dqn import DiscreteQLearningPolicy
    from tianshou.data import VectorReplayBuffer
    from tianshou.env.atari.atari_network import DQNet, ScaledObsInputActionReprNet

    net = ScaledObsInputActionReprNet(DQNet(c=4, h=84, w=84, action_shape=[int(action_space.n)]))
    policy = DiscreteQLearningPolicy(model=net, action_space=action_space, eps_training=EPSILON)
    algorithm = DQN(policy=policy, is_double=False, huber_loss_delta=1.0, **_tianshou_settings())
    return algorithm, VectorReplayBuffer(REPLAY, task.envs, **TIANSHOU_KEPT)


def _tianshou_rainbow(task: Task, action_space: Any) -> tuple[Any, Any]:
    """The algorithm and its replay."""
    from tianshou.algorithm import RainbowDQN
    from tianshou.algorithm.modelfree.c51 import C51Policy
    from tianshou.data import PrioritizedVectorReplayBuffer
    from tianshou.env.atari.atari_network import RainbowNet, ScaledObsInputActionReprNet

    net = RainbowNet(c=4, h=84, w=84, action_shape=[int(action_space.n)], num_atoms=ATOMS)
    policy = C51Policy(model=ScaledObsInputActionReprNet(net), action_space=action_space, v_min=-V_MAX, v_max=V_MAX)
    algorithm = RainbowDQN(policy=policy, n_step_return_horizon=N_STEP, **_tianshou_settings())
    return algorithm, PrioritizedVectorReplayBuffer(REPLAY, task.envs, alpha=ALPHA, beta=BETA, **TIANSHOU_KEPT)


def _tianshou_settings() -> dict[str, Any]:
    from tianshou.algorithm.optim import AdamOptimizerFactory

    optim = AdamOptimizerFactory(lr=LEARNING_RATE)
    return {"optim": optim, "gamma": GAMMA, "target_update_freq": TARGET // PERIOD}


CONTENDERS: dict[str, tuple[Callable[..., Result], bool]] = {
    "gymnast-dqn": (run_gymnast, False),
    "sb3-dqn": (run_stable_baselines3, False),
    "tianshou-dqn": (run_tianshou, False),
    "gymnast-rainbow": (run_gymnast, True),
    "tianshou-rainbow": (run_tianshou, True),
}


def main() -> None:
    parser = contest.parser(__doc__, CONTENDERS, envs=(8,))
    parser.add_argument("--learning-starts", type=int, default=4_000, help="env steps before learning begins")
    parser.add_argument("--warm-up", type=int, default=400, help="env steps of learning before the timed ones")
    parser.set_defaults(steps=800)
    arguments = parser.parse_args()
    before = {"learning-starts": arguments.learning_starts, "warm-up": arguments.warm_up}
    if arguments.worker or arguments.profile:
        run, rainbow = CONTENDERS[arguments.only[0]]
        task = Task(rainbow, arguments.envs[0], arguments.steps, arguments.learning_starts, arguments.warm_up)
        contest.work(partial(run, task), threads=arguments.threads[0], profile=arguments.profile)
        return
    figures, medians = [], []
    for threads in arguments.threads:
        for envs in arguments.envs:
            rounds = contest.take_turns(
                __file__,
                arguments.only,
                {"threads": threads, "envs": envs, "steps": arguments.steps, **before},
                rounds=arguments.rounds,
                peer_python=arguments.peer_python,
            )
            medians.append(contest.table(f"{threads} torch threads, {envs} environments", rounds))
            contest.ratios("  ratios", medians[-1], TARGETS)
            figures.append({"threads": threads, "envs": envs, "rounds": rounds})
    contest.ratios("\neach at its best", contest.best(medians), TARGETS)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
