"""PPO and A2C compared with their peers: env steps and updates per second, each in its own process, on the CPU.

    python benchmarks/actor_critic.py [--env cartpole] [--threads 1 2] [--envs 8 16] [--rounds 3] [--peer-python PATH]
    python benchmarks/actor_critic.py --native
    python benchmarks/actor_critic.py --env pong
    python benchmarks/actor_critic.py --recurrent lstm [--units 128] [--peer-python PATH]
    python benchmarks/actor_critic.py --only gymnast-ppo --threads 1 --envs 8 --profile

PPO learns from 128 steps of each environment in 4 epochs of 4 minibatches by Adam, A2C from 5 steps at once by RMSProp.
CartPole-v1 has an MLP of 64 and 64 units (tanh) for the policy and one for the value, Pong the Nature CNN for both. The
contenders take turns within a round, and each is timed after its warm-up, from one rollout's end to another's; all have
the same number of torch's threads. Stable-Baselines3 and Tianshou come with `pip install -e .[bench]`, or are in
another environment's interpreter (`--peer-python`). `--only` runs one contender, `--profile` prints its time by torch's
operators, `--compile` compiles our updates (`compile_s`: seconds of the first rollout's learning, not in the rates).

With `--recurrent` the contenders are our PPO and sb3-contrib's RecurrentPPO, each with two recurrent layers of
`--units` and two MLPs of 64 and 64, one for the policy and one for the value (ours with the MLP first, theirs with the
LSTM first). RecurrentPPO has only LSTMs, which are also the peer of our other kinds of memory.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import contest
from contest import Profiler, Result, Timed, clocked

GAMES = {"cartpole": "CartPole-v1", "pong": "PongNoFrameskip-v4"}
ENVS = {"cartpole": (8, 16), "pong": (8,)}
STEPS = {"cartpole": 20_480, "pong": 2_048}
RECURRENT = ("none", "lstm", "gru", "transformer")
RECURRENT_CONTENDERS = ("gymnast-ppo", "sb3-ppo")
WARM_UP = 1_000
GAMMA, CLIP, VALUE_COEF, MAX_GRAD_NORM, EPS, DECAY = 0.99, 0.2, 0.5, 0.5, 1e-5, 0.99
SB3_TARGETS = {("cartpole", 8): 3.2, ("cartpole", 16): 3.2, ("pong", 8): 1.5}
"""How many times as fast as Stable-Baselines3 our agents are to be."""
NATIVE_TARGET = 6.0
"""The same with our own CartPole (`--native`)."""
RECURRENT_TARGET = 3.0
"""How many times as fast as RecurrentPPO ours is to be with an LSTM or a GRU in CartPole with 8 environments."""


@dataclass(frozen=True)
class Algorithm:
    """The settings in which PPO and A2C differ here."""

    rollout_steps: int
    epochs: int
    minibatches: int
    gae_lambda: float
    learning_rate: float
    entropy_coef: float


ALGORITHMS = {"ppo": Algorithm(128, 4, 4, 0.95, 2.5e-4, 0.01), "a2c": Algorithm(5, 1, 1, 1.0, 7e-4, 0.01)}


@dataclass(frozen=True)
class Task:
    """One contender's work."""

    name: str
    env: str
    envs: int
    steps: int
    compile: bool
    recurrent: str = "none"
    units: int = 128
    native: bool = False

    @property
    def algorithm(self) -> Algorithm:
        return ALGORITHMS[self.name]

    @property
    def rollout(self) -> int:
        """Env steps of one rollout."""
        return self.envs * self.algorithm.rollout_steps

    @property
    def warm_up(self) -> int:
        """Rollouts before it is timed."""
        return max(-(-WARM_UP // self.rollout), 2)

    @property
    def rollouts(self) -> int:
        """Rollouts that are timed."""
        return -(-self.steps // self.rollout)

    def result(self, timed: Timed, updates: int, *, allowed: float = 0.0) -> Result:
        expected = self.rollouts * self.algorithm.epochs * self.algorithm.minibatches
        return timed.result(self.rollouts * self.rollout, updates, expected=expected, allowed=allowed)


def gymnast_loop(task: Task) -> Any:
    """Our own loop, as `gymnast train` runs it, before its first step."""
    from gymnast.agents import ActorCritic
    from gymnast.envs import make
    from gymnast.training.loop import Loop

    env = make(GAMES[task.env], task.envs, seed=0, native=task.native or None)
    spaces = env.single_observation_space, env.single_action_space
    agent = ActorCritic(*spaces, _config(task), num_envs=task.envs, seed=0)
    env.reset()
    return Loop(agent, agent.actor(task.envs, explore=True, seed=0), env)


def run_gymnast(task: Task, profiler: Profiler) -> Result:
    """Our own loop, and where its time went."""
    loop = gymnast_loop(task)
    agent = loop.agent
    loop.advance(task.rollout, lambda: False)
    first = loop.seconds.learn
    before = task.warm_up * task.rollout
    loop.advance(before, lambda: False)
    spent = dict.fromkeys(("store", "updates", "learn"), 0.0)
    for method, name in (("store", "store"), ("_update", "updates"), ("learn", "learn")):
        setattr(agent, method, clocked(getattr(agent, method), spent, name))
    looped = dict(vars(loop.seconds))
    with profiler:
        timed = Timed(agent.updates)
        loop.advance(before + task.rollouts * task.rollout, lambda: False)
        # If an environment spends a step on a reset, that step is in a rollout but is not counted.
        result = task.result(timed, agent.updates, allowed=0.1)
    loop.env.close()
    if task.compile:
        result["compile_s"] = first
    spent["rest of learning"] = spent.pop("learn") - spent["updates"]
    spent = {name: vars(loop.seconds)[name] - looped[name] for name in ("act", "env", "compiled")} | spent
    return {**result, "ms": {name: 1e3 * seconds / (task.rollouts * task.rollout) for name, seconds in spent.items()}}


def _config(task: Task) -> Any:
    from gymnast.agents import ActorCriticConfig
    from gymnast.agents.table import A2C

    algorithm = task.algorithm
    parts: dict[str, Any] = dict(A2C) if task.name == "a2c" else {"clip": CLIP}
    parts |= {name: getattr(algorithm, name) for name in ("rollout_steps", "epochs", "minibatches", "gae_lambda")}
    return ActorCriticConfig(
        **parts | {"learning_rate": algorithm.learning_rate, "entropy_coef": algorithm.entropy_coef},
        gamma=GAMMA,
        value_coef=VALUE_COEF,
        max_grad_norm=MAX_GRAD_NORM,
        optimizer_eps=EPS,
        clip_rewards=task.env == "pong",
        compile=task.compile,
        recurrent=task.recurrent,
        memory_size=task.units,
    )


def run_stable_baselines3(task: Task, profiler: Profiler) -> Result:
    """Stable-Baselines3's PPO and A2C, and sb3-contrib's RecurrentPPO, by `learn`."""
    from stable_baselines3 import A2C, PPO
    from stable_baselines3.common.env_util import make_atari_env, make_vec_env
    from stable_baselines3.common.vec_env import VecFrameStack

    algorithm = task.algorithm
    if task.env == "pong":
        import ale_py  # noqa: F401 - registers the games

        policy, env = "CnnPolicy", VecFrameStack(make_atari_env(GAMES["pong"], n_envs=task.envs, seed=0), n_stack=4)
    else:
        policy, env = "MlpPolicy", make_vec_env(GAMES[task.env], n_envs=task.envs, seed=0)
    settings: dict[str, Any] = {
        "learning_rate": algorithm.learning_rate,
        "n_steps": algorithm.rollout_steps,
        "gamma": GAMMA,
        "gae_lambda": algorithm.gae_lambda,
        "ent_coef": algorithm.entropy_coef,
        "vf_coef": VALUE_COEF,
        "max_grad_norm": MAX_GRAD_NORM,
        "device": "cpu",
        "seed": 0,
    }
    if task.name == "ppo":
        settings["batch_size"] = task.rollout // algorithm.minibatches
        settings |= {"n_epochs": algorithm.epochs, "clip_range": CLIP}
        model = PPO(policy, env, **settings) if task.recurrent == "none" else _recurrent_ppo(task, env, settings)
    else:
        model = A2C(policy, env, rms_prop_eps=EPS, **settings)
    model.learn(task.warm_up * task.rollout)
    with profiler:
        timed = Timed(model._n_updates * algorithm.minibatches)  # it counts epochs
        model.learn(task.rollouts * task.rollout, reset_num_timesteps=False)
        return task.result(timed, model._n_updates * algorithm.minibatches)


def _recurrent_ppo(task: Task, env: Any, settings: dict[str, Any]) -> Any:
    from sb3_contrib import RecurrentPPO

    return RecurrentPPO("MlpLstmPolicy", env, policy_kwargs={"lstm_hidden_size": task.units}, **settings)


def run_tianshou(task: Task, profiler: Profiler) -> Result:
    """Tianshou's PPO and A2C, by its on-policy trainer."""
    from tianshou.data import Collector, VectorReplayBuffer
    from tianshou.env import DummyVectorEnv
    from tianshou.trainer import OnPolicyTrainerParams

    vector = DummyVectorEnv([_tianshou_env(task.env)] * task.envs)
    algorithm = _tianshou_algorithm(task, vector.action_space[0])
    kept = {"ignore_obs_next": True, "save_only_last_obs": True, "stack_num": 4} if task.env == "pong" else {}
    collector = Collector(algorithm, vector, VectorReplayBuffer(2 * task.rollout, task.envs, **kept))
    collector.reset()
    update, rollouts, updates, results = algorithm.update, 0, 0, []

    def clocked_update(*args: Any, **kwargs: Any) -> Any:
        """Times from one rollout's end to another's: a trainer takes long to begin."""
        nonlocal rollouts, updates
        statistics = update(*args, **kwargs)
        rollouts, updates = rollouts + 1, updates + statistics.gradient_steps
        if rollouts == task.warm_up:
            profiler.__enter__()
            results.append(Timed(updates))
        if rollouts == task.warm_up + task.rollouts:
            results[0] = task.result(results[0], updates)
            profiler.__exit__(None, None, None)
        return statistics

    algorithm.update = clocked_update
    algorithm.run_training(
        OnPolicyTrainerParams(
            training_collector=collector,
            max_epochs=1,
            epoch_num_steps=(task.warm_up + task.rollouts) * task.rollout,
            collection_step_num_env_steps=task.rollout,
            batch_size=task.rollout // task.algorithm.minibatches,
            update_step_num_repetitions=task.algorithm.epochs,
            verbose=False,
            show_progress=False,
        )
    )
    return results[0]


def _tianshou_env(env: str) -> Callable[[], Any]:
    import gymnasium

    if env != "pong":
        return lambda: gymnasium.make(GAMES[env])
    import ale_py
    from gymnasium.wrappers import AtariPreprocessing, FrameStackObservation

    gymnasium.register_envs(ale_py)  # Tianshou's own wrappers do not run with NumPy 2.4
    return lambda: FrameStackObservation(AtariPreprocessing(gymnasium.make(GAMES[env])), 4)


def _tianshou_algorithm(task: Task, action_space: Any) -> Any:
    """The networks are those of its examples."""
    from tianshou.algorithm import A2C, PPO
    from tianshou.algorithm.modelfree.reinforce import ProbabilisticActorPolicy
    from tianshou.algorithm.optim import AdamOptimizerFactory, RMSpropOptimizerFactory
    from tianshou.env.atari.atari_network import DQNet, ScaledObsInputActionReprNet, layer_init
    from tianshou.utils.net.common import Net
    from tianshou.utils.net.discrete import DiscreteActor, DiscreteCritic, dist_fn_categorical_from_logits
    from torch import nn

    actions, algorithm = int(action_space.n), task.algorithm
    if task.env == "pong":
        shared = DQNet(
            c=4, h=84, w=84, action_shape=actions, features_only=True, output_dim_added_layer=512, layer_init=layer_init
        )
        trunks = [ScaledObsInputActionReprNet(shared)] * 2
    else:
        trunks = [Net(state_shape=4, hidden_sizes=(64, 64), activation=nn.Tanh) for _ in range(2)]
    actor = DiscreteActor(preprocess_net=trunks[0], action_shape=actions, softmax_output=False)
    settings = {
        "policy": ProbabilisticActorPolicy(
            actor=actor, dist_fn=dist_fn_categorical_from_logits, action_space=action_space, action_scaling=False
        ),
        "critic": DiscreteCritic(preprocess_net=trunks[1]),
        "vf_coef": VALUE_COEF,
        "ent_coef": algorithm.entropy_coef,
        "max_grad_norm": MAX_GRAD_NORM,
        "gae_lambda": algorithm.gae_lambda,
        "gamma": GAMMA,
        "max_batchsize": task.rollout,
    }
    if task.name == "ppo":
        return PPO(optim=AdamOptimizerFactory(lr=algorithm.learning_rate, eps=EPS), eps_clip=CLIP, **settings)
    return A2C(optim=RMSpropOptimizerFactory(lr=algorithm.learning_rate, alpha=DECAY, eps=EPS), **settings)


RUNS = {"gymnast": run_gymnast, "sb3": run_stable_baselines3, "tianshou": run_tianshou}
CONTENDERS = {f"{who}-{name}": (run, name) for name in ALGORITHMS for who, run in RUNS.items()}


def targets(env: str, envs: int, recurrent: str, native: bool) -> contest.Targets:
    if recurrent != "none":
        aimed = (env, envs) == ("cartpole", 8) and recurrent != "transformer"
        return {"gymnast-ppo": {"sb3-ppo": RECURRENT_TARGET if aimed else None}}
    sb3 = NATIVE_TARGET if native else SB3_TARGETS.get((env, envs))
    return {f"gymnast-{name}": {f"sb3-{name}": sb3, f"tianshou-{name}": None} for name in ALGORITHMS}


def main() -> None:
    parser = contest.parser(__doc__, CONTENDERS, envs=())
    parser.add_argument("--env", choices=GAMES, default="cartpole")
    parser.add_argument("--compile", action="store_true", help="compile our updates")
    parser.add_argument("--native", action="store_true", help="our device-native CartPole, rollouts compiled")
    parser.add_argument("--recurrent", choices=RECURRENT, default="none", help="layer that remembers the episode")
    parser.add_argument("--units", type=int, default=128, help="units of each recurrent layer")
    arguments = parser.parse_args()
    envs_list, steps = arguments.envs or ENVS[arguments.env], arguments.steps or STEPS[arguments.env]
    recurrent = {"recurrent": arguments.recurrent, "units": arguments.units, "native": arguments.native}
    only = [name for name in arguments.only if arguments.recurrent == "none" or name in RECURRENT_CONTENDERS]
    if not only:
        parser.error(f"--recurrent compares only {', '.join(RECURRENT_CONTENDERS)}")
    if arguments.worker or arguments.profile:
        run, name = CONTENDERS[only[0]]
        task = Task(name, arguments.env, envs_list[0], steps, arguments.compile, **recurrent)
        contest.work(lambda profiler: run(task, profiler), threads=arguments.threads[0], profile=arguments.profile)
        return
    figures = []
    for envs in envs_list:
        medians = []
        for threads in arguments.threads:
            options = {"threads": threads, "envs": envs, "steps": steps, "env": arguments.env, **recurrent}
            options["compile"] = arguments.compile
            rounds = contest.take_turns(
                __file__, only, options, rounds=arguments.rounds, peer_python=arguments.peer_python
            )
            medians.append(contest.table(_setting(options), rounds))
            goals = targets(arguments.env, envs, arguments.recurrent, arguments.native)
            contest.ratios("  ratios", medians[-1], goals)
            figures.append({**options, "rounds": rounds})
        if len(medians) > 1:
            contest.ratios(f"\neach at its best, {envs} environments", contest.best(medians), goals)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1), encoding="utf-8")


def _setting(options: dict[str, Any]) -> str:
    setting = f"{GAMES[options['env']]}, {options['threads']} torch threads, {options['envs']} environments"
    if options["recurrent"] == "none":
        return setting
    return f"{setting}, recurrent {options['recurrent']} of {options['units']} units"


if __name__ == "__main__":
    main()
