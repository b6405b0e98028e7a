"""DQN and Rainbow on Pong beside their peers: env steps and updates a second, each in a process of its own, on the CPU.

    python benchmarks/atari_dqn.py [--threads 1 2] [--envs 8] [--rounds 3] [--peer-python PATH] [--json FILE]
    python benchmarks/atari_dqn.py --only gymnast-rainbow --threads 1 --profile

The Nature CNN, batch 32, one update every 4 env steps, a replay of 20,000 transitions, of which 4,000 are there when
learning begins. The contenders take turns within a round, and each is timed after its warm-up; all have the same number
of torch's threads. Stable-Baselines3 and Tianshou come with `pip install -e .[bench]`, or lie in another environment's
interpreter (`--peer-python`). `--only` runs one contender, `--profile` prints its time by torch's operators.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import contest
from contest import Profiler, Result, Timed, clocked

ENV = "PongNoFrameskip-v4"
BATCH, PERIOD, REPLAY, STARTS, WARM_UP, TARGET = 32, 4, 20_000, 4_000, 400, 8_000
GAMMA, LEARNING_RATE, EPSILON, ATOMS, V_MAX, N_STEP, ALPHA, BETA = 0.99, 1e-4, 0.05, 51, 10.0, 3, 0.5, 0.4
TARGETS = {
    "gymnast-dqn": {"sb3-dqn": 1.7, "tianshou-dqn": 1.5},
    "gymnast-rainbow": {"tianshou-rainbow": 2.0},
}
"""How many times as fast as a peer an agent of ours is to be."""


def run_gymnast(rainbow: bool, envs: int, steps: int, profiler: Profiler) -> Result:
    """Our own loop, as `gymnast train` runs it, and where its time went."""
    from gymnast.agents import DQN, DQNConfig
    from gymnast.envs import make
    from gymnast.training.loop import Loop

    parts: dict[str, Any] = {"epsilon": EPSILON}
    if rainbow:
        parts = {"double": True, "dueling": True, "prioritized": True, "noisy": True, "n_step": N_STEP}
        parts |= {"values": "categorical", "atoms": ATOMS, "v_min": -V_MAX, "v_max": V_MAX}
        parts |= {"priority_alpha": ALPHA, "priority_beta": BETA}
    config = DQNConfig(
        **parts,
        backbone="nature-cnn",
        batch_size=BATCH,
        learning_rate=LEARNING_RATE,
        gamma=GAMMA,
        replay_size=REPLAY,
        learning_starts=STARTS,
        train_period=PERIOD,
        target_period=TARGET,
        clip_rewards=True,
    )
    env = make(ENV, envs, seed=0)
    agent = DQN(env.single_observation_space, env.single_action_space, config, num_envs=envs, seed=0)
    env.reset()
    loop = Loop(agent, agent.actor(envs, explore=True, seed=0), env)
    loop.advance(STARTS + WARM_UP, lambda: False)
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
    before = dict(vars(loop.seconds))
    with profiler:
        timed = Timed(agent.updates)
        loop.advance(STARTS + WARM_UP + steps, lambda: False)
        result = timed.result(steps, agent.updates, expected=steps // PERIOD)
    learn = spent.pop("learn")
    inner = sum(seconds for name, seconds in spent.items() if name != "store")
    spent = {name: vars(loop.seconds)[name] - before[name] for name in ("act", "env")} | spent
    spent["backward and the rest"] = learn - inner
    return {**result, "ms": {name: 1e3 * seconds / steps for name, seconds in spent.items()}}


def run_stable_baselines3(rainbow: bool, envs: int, steps: int, profiler: Profiler) -> Result:
    """Stable-Baselines3's DQN, by `learn`; it has no Rainbow."""
    import ale_py  # noqa: F401 - registers the games
    from stable_baselines3 import DQN
    from stable_baselines3.common.env_util import make_atari_env
    from stable_baselines3.common.vec_env import VecFrameStack

    model = DQN(
        "CnnPolicy",
        VecFrameStack(make_atari_env(ENV, n_envs=envs, seed=0), n_stack=4),
        learning_rate=LEARNING_RATE,
        buffer_size=REPLAY,
        learning_starts=STARTS,
        batch_size=BATCH,
        gamma=GAMMA,
        train_freq=max(PERIOD // envs, 1),
        gradient_steps=max(envs // PERIOD, 1),
        target_update_interval=TARGET,
        exploration_initial_eps=EPSILON,
        exploration_final_eps=EPSILON,
        optimize_memory_usage=True,
        replay_buffer_kwargs={"handle_timeout_termination": False},
        device="cpu",
        seed=0,
    )
    model.learn(STARTS + WARM_UP)
    with profiler:
        timed = Timed(model._n_updates)
        model.learn(steps, reset_num_timesteps=False)
        return timed.result(steps, model._n_updates, expected=steps // PERIOD)


def run_tianshou(rainbow: bool, envs: int, steps: int, profiler: Profiler) -> Result:
    """Tianshou's DQN and Rainbow, by its off-policy trainer, with the networks of its Atari examples."""
    import ale_py
    import gymnasium
    from gymnasium.wrappers import AtariPreprocessing, FrameStackObservation
    from tianshou.algorithm import DQN, RainbowDQN
    from tianshou.algorithm.modelfree.c51 import C51Policy
    from tianshou.algorithm.modelfree.dqn import DiscreteQLearningPolicy
    from tianshou.algorithm.optim import AdamOptimizerFactory
    from tianshou.data import Collector, PrioritizedVectorReplayBuffer, VectorReplayBuffer
    from tianshou.env import DummyVectorEnv
    from tianshou.env.atari.atari_network import DQNet, RainbowNet, ScaledObsInputActionReprNet
    from tianshou.trainer import OffPolicyTrainerParams

    gymnasium.register_envs(ale_py)

    def game() -> gymnasium.Env[Any, Any]:  # Tianshou's own wrappers do not run with NumPy 2.4
        return FrameStackObservation(AtariPreprocessing(gymnasium.make(ENV)), 4)

    vector = DummyVectorEnv([game] * envs)
    action_space = vector.action_space[0]
    actions, optim = int(action_space.n), AdamOptimizerFactory(lr=LEARNING_RATE)
    settings = {"optim": optim, "gamma": GAMMA, "target_update_freq": TARGET // PERIOD}
    kept = {"ignore_obs_next": True, "save_only_last_obs": True, "stack_num": 4}
    if rainbow:
        net = RainbowNet(c=4, h=84, w=84, action_shape=[actions], num_atoms=ATOMS)
        policy = C51Policy(model=ScaledObsInputActionReprNet(net), action_space=action_space, v_min=-V_MAX, v_max=V_MAX)
        algorithm = RainbowDQN(policy=policy, n_step_return_horizon=N_STEP, **settings)
        buffer = PrioritizedVectorReplayBuffer(REPLAY, envs, alpha=ALPHA, beta=BETA, **kept)
    else:
        net = DQNet(c=4, h=84, w=84, action_shape=[actions])
        policy = DiscreteQLearningPolicy(
            model=ScaledObsInputActionReprNet(net), action_space=action_space, eps_training=EPSILON
        )
        algorithm = DQN(policy=policy, is_double=False, huber_loss_delta=1.0, **settings)
        buffer = VectorReplayBuffer(REPLAY, envs, **kept)
    collector = Collector(algorithm, vector, buffer, exploration_noise=True)
    collector.reset()
    collector.collect(n_step=STARTS, random=True)

    learn, updates, results = algorithm._update_with_batch, 0, []
    begin, end = WARM_UP // PERIOD, (WARM_UP + steps) // PERIOD

    def clocked_learn(*args: Any, **kwargs: Any) -> Any:
        """Times from one update to another: a trainer takes long to begin, for it copies the replay."""
        nonlocal updates
        if updates == begin:
            profiler.__enter__()
            results.append(Timed(updates))
        if updates == end:
            results[0] = results[0].result(steps, updates, expected=steps // PERIOD)
            profiler.__exit__(None, None, None)
        updates += 1
        return learn(*args, **kwargs)

    algorithm._update_with_batch = clocked_learn
    algorithm.run_training(
        OffPolicyTrainerParams(
            training_collector=collector,
            max_epochs=1,
            epoch_num_steps=WARM_UP + steps + 2 * max(PERIOD, envs),
            collection_step_num_env_steps=max(PERIOD, envs),
            update_step_num_gradient_steps_per_sample=1 / PERIOD,
            batch_size=BATCH,
            verbose=False,
            show_progress=False,
        )
    )
    return results[0]


CONTENDERS: dict[str, tuple[Callable[..., Result], bool]] = {
    "gymnast-dqn": (run_gymnast, False),
    "sb3-dqn": (run_stable_baselines3, False),
    "tianshou-dqn": (run_tianshou, False),
    "gymnast-rainbow": (run_gymnast, True),
    "tianshou-rainbow": (run_tianshou, True),
}


def main() -> None:
    parser = contest.parser(__doc__, CONTENDERS, envs=(8,))
    parser.set_defaults(steps=800)
    arguments = parser.parse_args()
    if arguments.worker or arguments.profile:
        run, rainbow = CONTENDERS[arguments.only[0]]
        run = partial(run, rainbow, arguments.envs[0], arguments.steps)
        contest.work(run, threads=arguments.threads[0], profile=arguments.profile)
        return
    figures, medians = [], []
    for threads in arguments.threads:
        for envs in arguments.envs:
            rounds = contest.take_turns(
                __file__,
                arguments.only,
                {"threads": threads, "envs": envs, "steps": arguments.steps},
                rounds=arguments.rounds,
                peer_python=arguments.peer_python,
            )
            medians.append(contest.table(f"{threads} torch threads, {envs} environments", rounds))
            contest.ratios("  ratios", medians[-1], TARGETS)
            figures.append({"threads": threads, "envs": envs, "rounds": rounds})
    contest.ratios("\neach at its best", contest.best(medians), TARGETS)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
