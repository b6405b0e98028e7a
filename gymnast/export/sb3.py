"""`gymnast import sb3`: a policy that Stable-Baselines3 has trained, as a run of the agent that is its like here.

Both libraries stack the same layers in the same order, so the settings of the network follow from the shapes of the
weights, and the weights are copied layer by layer.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces
from torch import Tensor

from gymnast.errors import UsageError, first_line
from gymnast.evaluation import trained
from gymnast.export import sb3_file
from gymnast.export.sb3_file import Saved
from gymnast.settings import agents
from gymnast.settings.import_options import ImportOptions
from gymnast.storage import checkpoint, folder

ACTIVATIONS = {
    "ReLU": "relu",
    "Tanh": "tanh",
    "ELU": "elu",
    "GELU": "gelu",
    "SiLU": "silu",
    "LeakyReLU": "leaky-relu",
    "SELU": "selu",
    "Sigmoid": "sigmoid",
    "Softplus": "softplus",
    "Identity": "identity",
}
"""Names of activations here by those of torch's modules; a slope or another option of theirs is not in the file."""
HARMLESS = frozenset(
    (
        *(":type:", ":serialized:", "net_arch", "activation_fn", "ortho_init", "log_std_init", "optimizer_class"),
        *("optimizer_kwargs", "share_features_extractor"),
    )
)
"""Arguments of a policy that change nothing which the weights do not show, apart from the activation."""
SETTINGS = {
    "gamma": "gamma",
    "gae_lambda": "gae_lambda",
    "ent_coef": "entropy_coef",
    "vf_coef": "value_coef",
    "max_grad_norm": "max_grad_norm",
    "learning_rate": "learning_rate",
}
"""Settings here by their names there, where a number means the same."""
COPIES = ("features_extractor.", "pi_features_extractor.", "vf_features_extractor.")
"""The features of an actor-critic, which one module or two compute."""
CNN = 3
"""Convolutions of the Nature network."""
Layers = Sequence[str]
"""Names of layers in the order of the computation, without .weight and .bias."""


@dataclass(frozen=True)
class Layout:
    """Where the weights of a policy lie in the state there and here."""

    agent: str
    network: dict[str, Any]
    """Settings of the network."""
    parts: dict[str, dict[str, Layers]]
    """For each part of the agent's state here: layers there, by the prefix of the same layers here."""
    parameters: dict[str, str] = dataclasses.field(default_factory=dict)
    """Parameters of the network that are no layer: their names there by those here."""


@dataclass(frozen=True)
class Imported:
    """What was written."""

    path: Path
    agent: str
    env: str

    def as_text(self) -> str:
        again = f"gymnast train {self.agent} --env {self.env} --init-from {self.path}"
        return f"run         {self.path}\nto play it: gymnast evaluate {self.path}\nto train on from it: {again}"


def import_sb3(options: ImportOptions) -> Imported:
    """Write the run's folder; UsageError (one line) before anything is written."""
    saved = sb3_file.read(Path(options.file))
    layout = _layout(saved, options.file)
    run = options.run()
    name = options.name or f"sb3-{folder.folder_name(Path(options.file).stem)}"
    cls = agents.agent_class(layout.agent)
    config = _config(saved, layout, options.file)
    made_by = trained.EnvSettings(json.loads(run.env_options or "{}"), run.wrapper, None, run.frame_stack)
    try:
        env = made_by.make(run.env, 1, device="cpu")
    except (ValueError, OSError) as error:
        raise UsageError(first_line(error)) from None
    try:
        _check_spaces(env.single_observation_space, config, options.file)
        agent = cls(env.single_observation_space, env.single_action_space, config, num_envs=1, device="cpu", seed=0)
        state = _state(agent, saved, layout)
    except (ValueError, TypeError) as error:
        raise UsageError(f"{options.file} does not fit {run.env}: {first_line(error)}") from None
    finally:
        env.close()
    about = checkpoint.describe(
        agent,
        name=layout.agent,
        config=config,
        env=env.id,
        run=dataclasses.asdict(run),
        versions={**folder.versions(), "stable-baselines3": saved.version},
    )
    about = dataclasses.replace(about, env_step=state["env_step"])
    path = folder.create(run.out, env=env.id, agent=layout.agent, name=name, seed=run.seed)
    command = ["gymnast", "import", "sb3", options.file, "--env", run.env]
    described = folder.config_json(layout.agent, config, options=run, presets=(), command=command)
    checkpoint.save_agent(path / "checkpoints" / "best.pt", about, state)
    (path / "metrics.jsonl").touch()
    folder.write_config(path, {**described, "versions": about.versions})
    return Imported(path, layout.agent, env.id)


def _layout(saved: Saved, file: str) -> Layout:
    """Which agent has these weights here, and with which network; UsageError if none has."""
    _check_policy(saved, file)
    names = saved.weights.keys()
    if any(name.startswith("q_net.") for name in names):
        return _of_dqn(saved, file)
    if "action_net.weight" in names and "value_net.weight" in names:
        return _of_actor_critic(saved, file)
    raise UsageError(f"{file} is not DQN, PPO or A2C: its weights begin with {next(iter(names))}")


def _check_policy(saved: Saved, file: str) -> None:
    """Raise UsageError for a policy that computes otherwise than its weights show."""
    described = saved.data.get("policy_class")
    module = str(described.get("__module__")) if isinstance(described, dict) else str(described)
    if not module.startswith("stable_baselines3."):
        raise UsageError(f"{file} has a policy of its own, of {module}, which only its code can compute")
    if saved.data.get("use_sde"):
        raise UsageError(f"{file} explores by gSDE (use_sde), which has no counterpart here")
    for name in _policy_arguments(saved):
        if name not in HARMLESS:
            raise UsageError(f"{file}: the policy's argument {name} cannot be imported")


def _policy_arguments(saved: Saved) -> dict[str, Any]:
    found = saved.data.get("policy_kwargs")
    return found if isinstance(found, dict) else {}


def _activation(saved: Saved, usual: str, file: str) -> str:
    """The activation of the fully connected layers after the features."""
    given = _policy_arguments(saved).get("activation_fn")
    if given is None:
        return usual
    found = re.fullmatch(
        r"<class 'torch\.nn\.modules\.activation\.(\w+)'>|<class 'torch\.nn\..*\.(Identity)'>", str(given)
    )
    name = (found[1] or found[2]) if found else str(given)[:60]
    if name not in ACTIVATIONS:
        raise UsageError(f"{file}: the activation {name} cannot be imported; {', '.join(ACTIVATIONS)} can")
    return ACTIVATIONS[name]


def _layers(weights: Mapping[str, Tensor], prefix: str) -> list[str]:
    """The layers PREFIX.0, PREFIX.2 and so on, in their order."""
    found = [re.fullmatch(rf"{re.escape(prefix)}\.(\d{{1,3}})\.weight", name) for name in weights]
    return [f"{prefix}.{number}" for number in sorted(int(match[1]) for match in found if match)]


def _features(weights: Mapping[str, Tensor], prefix: str) -> list[str]:
    """The layers of the Nature network below a prefix; none for observations that are only flattened."""
    return [*_layers(weights, f"{prefix}.cnn"), *_layers(weights, f"{prefix}.linear")]


def _network(
    weights: Mapping[str, Tensor], features: Layers, hidden: Layers, activation: str, file: str
) -> dict[str, Any]:
    """Settings of a network with these features and fully connected layers after them; UsageError."""
    units = [int(weights[f"{name}.weight"].shape[0]) for name in (*features[CNN:], *hidden)]
    if not features:
        return {"network": "mlp", "hidden_sizes": tuple(units), "activation": activation}
    if len(features) != CNN + 1:
        raise UsageError(f"{file}: only CnnPolicy with the Nature network can be imported, not {len(features)} layers")
    if hidden and activation != "relu":
        raise UsageError(f"{file}: layers after the Nature network must have ReLU as it has, not {activation}")
    return {"network": "nature-cnn", "hidden_sizes": tuple(units), "activation": "relu"}


def _of_dqn(saved: Saved, file: str) -> Layout:
    parts: dict[str, dict[str, Layers]] = {}
    for part, net in (("online", "q_net"), ("target", "q_net_target")):
        features = _features(saved.weights, f"{net}.features_extractor")
        parts[part] = {"": [*features, *_layers(saved.weights, f"{net}.q_net")]}
        hidden = parts[part][""][len(features) : -1]
    network = _network(saved.weights, features, hidden, _activation(saved, "relu", file), file)
    return Layout("dqn", network, parts)


def _of_actor_critic(saved: Saved, file: str) -> Layout:
    weights = saved.weights
    agent = "ppo" if "clip_range" in saved.data else "a2c"
    actor, critic = (_layers(weights, f"mlp_extractor.{net}_net") for net in ("policy", "value"))
    of_actor, of_critic = (_features(weights, f"{side}_features_extractor") for side in ("pi", "vf"))
    if not (of_actor and of_critic):
        of_actor = of_critic = _features(weights, "features_extractor")
    widths = [[int(weights[f"{name}.weight"].shape[0]) for name in layers] for layers in (actor, critic)]
    if widths[0] != widths[1]:
        raise UsageError(
            f"{file}: the policy has layers of {widths[0]} and the value of {widths[1]}; here both have the same"
        )
    shared = bool(of_actor) and not actor and _equal(weights, of_actor, of_critic)
    network = _network(weights, of_actor, actor, _activation(saved, "tanh", file), file)
    layers: dict[str, Layers] = {"actor.": [*of_actor, *actor], "policy": ["action_net"], "value": ["value_net"]}
    if not shared and (of_critic or critic):
        layers["critic."] = [*of_critic, *critic]
    network["trunk"] = "shared" if shared else "separate"
    return Layout(agent, network, {"network": layers}, {"log_std": "log_std"} if "log_std" in weights else {})


def _equal(weights: Mapping[str, Tensor], some: Layers, others: Layers) -> bool:
    return len(some) == len(others) and all(
        weights[f"{one}.{kind}"].equal(weights[f"{other}.{kind}"])
        for one, other in zip(some, others, strict=True)
        for kind in ("weight", "bias")
    )


def _config(saved: Saved, layout: Layout, file: str) -> Any:
    """The agent's config: its network, and the settings that mean the same in both libraries."""
    config = agents.default_config(layout.agent)
    values = {here: saved.number(there) for there, here in SETTINGS.items() if hasattr(config, here)}
    given = {name: value for name, value in values.items() if value is not None}
    try:
        return dataclasses.replace(config, **given, **layout.network)
    except ValueError as error:
        raise UsageError(f"{file}: {first_line(error)}") from None


def _check_spaces(observation_space: Any, config: Any, file: str) -> None:
    """Raise UsageError for observations that the two libraries read differently."""
    if isinstance(observation_space, spaces.Box):
        if config.network == "mlp" and observation_space.dtype == np.uint8:
            raise UsageError(
                f"{file}: MlpPolicy reads uint8 observations otherwise than networks here, which scale them"
            )
    elif not isinstance(observation_space, spaces.Discrete):
        raise UsageError(f"{file}: only Box and Discrete observations can be imported, not {observation_space}")


def _state(agent: Any, saved: Saved, layout: Layout) -> dict[str, Any]:
    """The agent's state with the weights; loads it too. ValueError names a layer of another shape."""
    state: dict[str, Any] = agent.state_dict()
    _check_all_used(saved, layout)
    for part, layers in layout.parts.items():
        state[part] = _weights(state[part], saved.weights, layers, layout.parameters)
    state["env_step"] = int(saved.number("num_timesteps") or 0)
    agent.load_state_dict(state)
    return state


def _check_all_used(saved: Saved, layout: Layout) -> None:
    """Raise ValueError for weights that no layer takes; shared features stand in the file more than once."""
    used = {name for layers in layout.parts.values() for names in layers.values() for name in names}
    for name in saved.weights.keys() - set(layout.parameters.values()):
        if name.rpartition(".")[0] not in used and not name.startswith(COPIES):
            raise ValueError(f"{name} has no counterpart here")


def _weights(
    here: Mapping[str, Tensor], there: Mapping[str, Tensor], layers: Mapping[str, Layers], parameters: Mapping[str, str]
) -> dict[str, Tensor]:
    """A part of the agent's state with the weights from there, layer by layer in their order."""
    sources = dict(parameters)
    for prefix, names in layers.items():
        mine = [name.removesuffix(".weight") for name in here if name.startswith(prefix) and name.endswith(".weight")]
        if len(mine) != len(names):
            raise ValueError(f"it has {len(names)} layers where {len(mine)} are needed")
        pairs = zip(mine, names, strict=True)
        sources |= {f"{one}.{kind}": f"{other}.{kind}" for one, other in pairs for kind in ("weight", "bias")}
    for name, source in sources.items():
        if name not in here:
            raise ValueError(f"{source} has no place in it")
    made = {}
    for name, value in here.items():
        found = there.get(sources.get(name, ""))
        if found is None:
            raise ValueError(f"nothing in it is {name}")
        if found.shape != value.shape:
            raise ValueError(f"{sources[name]} is {list(found.shape)} where {list(value.shape)} is needed")
        made[name] = found.detach().clone().contiguous()
    return made
