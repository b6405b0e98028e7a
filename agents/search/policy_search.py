"""Base of policy searches without gradients: candidates are parameter vectors, whole episodes judge them."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor, nn

from gymnast.agents.base import Acted, Metrics, restore_generator, seed_sequence, torch_seed
from gymnast.agents.prediction import GreedyPolicy, Predicts
from gymnast.agents.search.trials import Trials
from gymnast.envs.step import Obs, Step
from gymnast.networks.backbones.table import options_of
from gymnast.networks.build import Backbone, BackboneName, build, named, settled
from gymnast.networks.distributions.deterministic import Choose, chooser
from gymnast.networks.layers.activations import check_activation
from gymnast.networks.layers.init import INITS, Init
from gymnast.networks.stacked.network import Stacked, flat_vector, with_output


@dataclass(frozen=True)
class PolicySearchConfig:
    """Settings of every policy search."""

    episodes: int = 1
    """Episodes per candidate and generation; its fitness is their mean undiscounted return."""
    network: BackboneName = "auto"
    """Network below the head: auto, a name from gymnast list networks, or module:Class. With --help: its options."""
    network_options: dict[str, Any] = field(default_factory=dict, metadata={"flag": False})
    """Options of the named network; on the command line --network.NAME VALUE."""
    hidden_sizes: tuple[int, ...] | None = (32, 32)
    """Units of the fully connected layers: no numbers for a linear policy. Default: the backbone's own."""
    activation: str = "tanh"
    """Activation of the fully connected layers: relu, tanh, elu, gelu, silu, selu, leaky-relu, sigmoid, softplus,
    crelu, prelu or maxout:K, the largest of K linear pieces."""
    init: Init = "xavier"
    """Initial weights."""
    output_scale: float = 1.0
    """Factor of the output layer's initial weights; with a small one only the noise decides at first."""
    action_masks: bool = True
    """Act only with allowed Discrete actions, if the environment provides action masks."""
    workers: int = 0
    """Processes that play the candidates' episodes, each in num_envs environments; 0 plays them here. Any number of
    them gives the same run."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "network", named(self.network))
        options_of(named(self.network), self.network_options)
        at_least(self, 1, "episodes")
        at_least(self, 0, "workers")
        if not 0.0 <= self.output_scale < math.inf:
            raise ValueError(f"output_scale must be >= 0, got {self.output_scale}")
        if self.hidden_sizes is not None and min(self.hidden_sizes, default=1) < 1:
            raise ValueError(f"hidden_sizes must be numbers >= 1, got {self.hidden_sizes}")
        check_activation(self.activation)
        if self.init not in INITS:
            raise ValueError(f"init must be one of {', '.join(INITS)}, got {self.init!r}")


def at_least(config: Any, low: int, *names: str) -> None:
    """Raise ValueError for the first field of the config that is smaller than `low`."""
    for name in names:
        if not getattr(config, name) >= low:
            raise ValueError(f"{name} must be >= {low}, got {getattr(config, name)}")


class PolicySearch(Predicts, ABC):
    """Base of policy searches: the policy network, and the assignment of candidates to rows of the environment.

    Each of N rows plays one candidate for whole episodes (`Trials`); once every candidate of a generation has played
    its episodes, one update is due. Until then idle rows keep playing their candidate, and the result is not used. An
    environment needs a time limit: a policy might never end an episode.

    Raises:
        ValueError: for spaces that a policy network does not support.
    """

    config: PolicySearchConfig
    defaults: ClassVar[PolicySearchConfig]

    def __init__(
        self,
        observation_space: gym.Space[Any],
        action_space: gym.Space[Any],
        config: Any = None,
        *,
        num_envs: int = 1,
        device: str | torch.device = "cpu",
        seed: int | np.random.SeedSequence = 0,
        network: Backbone | None = None,
    ) -> None:
        self.observation_space: gym.Space[Any] = observation_space
        self.action_space: gym.Space[Any] = action_space
        config, self._backbone = settled(self.defaults if config is None else config, network)
        self.config = config
        self.num_envs, self.device = num_envs, torch.device(device)
        self.outputs, self.choose = chooser(action_space, device=self.device)
        init_seed, noise_seed = seed_sequence(seed).spawn(2)
        self._init_generator = torch.Generator().manual_seed(torch_seed(init_seed))
        first = self._new_network()
        self.first = flat_vector(first).to(self.device)
        """The initial parameters, [P]."""
        self.network = Stacked(first.to(self.device))
        self.generator = torch.Generator(self.device).manual_seed(torch_seed(noise_seed))
        """Draws all noise."""
        self.rows = self.first.expand(num_envs, -1).clone()
        """The parameters that each row acts with, [N, P]."""
        self.trials = Trials(num_envs)
        self.env_step = self.updates = 0
        self.prepare()

    # Defined by each search.

    @abstractmethod
    def prepare(self) -> None:
        """Set up the learned state from the initial parameters."""

    @property
    @abstractmethod
    def parameters(self) -> Tensor:
        """The learned parameters, which evaluations use: [P]."""

    @abstractmethod
    def propose(self) -> None:
        """Draw the candidates of a new generation, and `begin` with them."""

    @abstractmethod
    def candidate(self, index: int) -> Tensor:
        """The parameters [P] of a candidate of this generation."""

    @abstractmethod
    def select(self, fitness: Tensor) -> Metrics:
        """Learn from the candidates' mean returns, float64 [C], and begin a new round."""

    @abstractmethod
    def scheduled(self) -> dict[str, float]: ...

    @abstractmethod
    def learned(self) -> dict[str, Any]:
        """The learned part of the state."""

    @abstractmethod
    def load_learned(self, state: dict[str, Any]) -> None: ...

    @abstractmethod
    def generation(self) -> dict[str, Any]:
        """The part of the state that holds the current generation's candidates."""

    @abstractmethod
    def load_generation(self, state: dict[str, Any]) -> None: ...

    # Shared by all searches.

    def begin(self, candidates: Sequence[int], episodes: int) -> None:
        """Have each of these candidates play `episodes` episodes."""
        for row, index in self.trials.begin(candidates, episodes):
            self.rows[row] = self.candidate(index)

    def initial(self, count: int) -> Tensor:
        """Parameters of `count` freshly initialised networks, [count, P]."""
        return torch.stack([flat_vector(self._new_network()) for _ in range(count)]).to(self.device)

    def noise(self, count: int) -> Tensor:
        """Standard normal numbers [count, P]."""
        return torch.randn(count, self.network.size, generator=self.generator, device=self.device)

    def actor(self, num_envs: int, *, explore: bool, seed: int | np.random.SeedSequence) -> PolicyActor:
        """An actor of the candidates with `explore` (as many rows as the agent has), else of the learned parameters."""
        if explore and num_envs != self.num_envs:
            raise ValueError(f"num_envs must be {self.num_envs}, the agent's, to explore, got {num_envs}")
        if explore and not self.trials.candidates:
            self.propose()  # running out of memory is reported before training begins
        return PolicyActor(self, explore=explore)

    def predicting_actor(
        self, num_envs: int, *, deterministic: bool, seed: int | np.random.SeedSequence
    ) -> PolicyActor:
        """The learned parameters' actions, which are deterministic."""
        return PolicyActor(self, explore=False)

    def greedy_policy(self) -> Searched:
        """The learned parameters' action as a module; see `ExportableAgent`."""
        return Searched(self.network, self.parameters, self.choose, takes_masks=self.config.action_masks)

    def store(self, obs: Obs, acted: Acted, step: Step) -> None:
        """Record the ended episodes, terminated or truncated; nothing else in a step matters."""
        self.env_step += step.num_active
        if step.num_ended == 0 or step.episode_return is None:
            return
        returns = step.episode_return.tolist()
        for row in step.ended.nonzero().flatten().tolist():
            index = self.trials.end(row, returns[row])
            if index is not None:
                self.rows[row] = self.candidate(index)

    def played(self, episode_return: float, length: int) -> None:
        """Record the next episode of the round, which another process has played; the agent has one row."""
        self.env_step += length
        index = self.trials.end(0, episode_return)
        if index is not None:
            self.rows[0] = self.candidate(index)

    def repeat(self, returns: list[float], *, env_step: int) -> None:
        """Learn from the returns of a round, as the agent did that has seen its episodes."""
        self.env_step = env_step
        self.trials.returns, self.trials.waiting = list(returns), {0}
        self.learn()

    def candidate_of(self, episode: int) -> Tensor:
        """The parameters [P] that play an episode of the round."""
        return self.candidate(self.trials.candidates[episode // self.trials.episodes])

    def action(self, parameters: Tensor, obs: Obs, action_mask: Tensor | None) -> Tensor:
        """The actions of policies [N, P], one for each row, or of a single one [P]."""
        output = self.network(parameters, obs)
        return self.choose(output, action_mask if self.config.action_masks else None)

    def updates_due(self, env_step: int) -> int:
        """1 once all episodes of the candidates have ended."""
        return int(self.trials.complete)

    def learn(self) -> Metrics:
        """Make one selection; rows with no episode in progress take the next candidates."""
        metrics = self.select(self.trials.fitness())
        self.updates += 1
        return metrics

    def state_dict(self) -> dict[str, Any]:
        """The learned state, with the current generation under "replay"."""
        state = {
            **self.learned(),
            "generator": self.generator.get_state(),
            "init_generator": self._init_generator.get_state(),
            "env_step": self.env_step,
            "updates": self.updates,
        }
        if buffers := self._buffers():
            state["buffers"] = {name: buffer.clone() for name, buffer in buffers.items()}
        if not self.trials.candidates:
            return state
        under_way = {**self.generation(), "rows": self.rows.clone(), "trials": self.trials.state_dict()}
        return {**state, "replay": under_way}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load a state; without "replay" a new generation begins from the learned state."""
        self.load_learned(state)
        buffers = self._buffers()
        for name, value in state.get("buffers", {}).items():
            buffers[name].copy_(value)
        restore_generator(self.generator, state["generator"])
        self._init_generator.set_state(state["init_generator"].cpu())
        self.env_step, self.updates = state["env_step"], state["updates"]
        self.trials = Trials(self.num_envs)
        if "replay" in state:
            self.trials.load_state_dict(state["replay"]["trials"])
            self.load_generation(state["replay"])
            self.rows.copy_(state["replay"]["rows"])

    def _buffers(self) -> dict[str, Tensor]:
        """State of a user's own network besides its parameters; no search changes it."""
        network = self.network.network
        learned = set(self.network.names)
        return {name: value for name, value in network.state_dict().items() if name not in learned}

    def own(self, parameters: Tensor) -> Tensor:
        """A copy of loaded parameters [..., P] on the agent's device; ValueError if they belong to another network."""
        if parameters.shape[-1] != self.network.size:
            raise ValueError(
                f"the checkpoint's policy has {parameters.shape[-1]} parameters, this agent's has {self.network.size}"
            )
        return parameters.to(self.device, copy=True)

    def _new_network(self) -> nn.Sequential:
        config, generator = self.config, self._init_generator
        backbone = build(
            self._backbone,
            self.observation_space,
            options=config.network_options,
            hidden_sizes=config.hidden_sizes,
            activation=config.activation,
            init=config.init,
            generator=generator,
        )
        return with_output(backbone, self.outputs, init=config.init, scale=config.output_scale, generator=generator)


class Searched(GreedyPolicy):
    """The action of a policy with given parameters [P]."""

    preferences = "output of the policy"

    def __init__(self, network: Stacked, parameters: Tensor, choose: Choose, *, takes_masks: bool) -> None:
        super().__init__()
        self.network = network.module(parameters)
        self.choose, self.takes_masks = choose, takes_masks

    def forward(
        self, obs: Obs, memory: Tensor | None, action_mask: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        output: Tensor = self.network(obs)
        return self.choose(output, action_mask if self.takes_masks else None), output, memory


class PolicyActor:
    """Acts with the candidates of the agent's rows while exploring, else with the agent's learned parameters.

    Policies are deterministic, so it has neither generator nor recurrent state.
    """

    def __init__(self, agent: PolicySearch, *, explore: bool) -> None:
        self.agent, self.explore = agent, explore

    @torch.no_grad()
    def act(self, obs: Obs, start: Tensor, action_mask: Tensor | None = None) -> Acted:
        agent = self.agent
        if self.explore:
            if not agent.trials.candidates:
                agent.propose()
            agent.trials.waiting.clear()  # every row is in the middle of an episode from now on
            parameters = agent.rows if agent.num_envs > 1 else agent.rows[0]
        else:
            parameters = agent.parameters
        return Acted(agent.action(parameters, obs, action_mask))

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None: ...
