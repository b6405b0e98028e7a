"""What a run's learned reward needs: the expert's episodes, or the fitted model, read and checked before it starts."""

from __future__ import annotations

import dataclasses
from typing import Any

import gymnasium as gym

from gymnast.agents.base import Agent
from gymnast.agents.rewards.config import LearnedRewardConfig
from gymnast.agents.rewards.gail import Gail
from gymnast.agents.rewards.model import RewardModel
from gymnast.envs.env import Env
from gymnast.errors import UsageError, first_line
from gymnast.replay.datasets.digest import digest
from gymnast.replay.datasets.episodes import EpisodeData, read_dataset
from gymnast.storage.encoder import described, same_kind
from gymnast.storage.reward_model import FittedReward, read_reward_model

Source = EpisodeData | FittedReward
"""What the learned reward of a run comes from."""


def resolve(config: Any, env: Env, *, resumed: bool) -> tuple[Any, Source | None]:
    """The config with what its run keeps of the source, and the source; unchanged without one.

    A resumed run has the weights of its reward model, and needs only the expert's episodes. Raises ValueError in one
    line for a source that does not exist, is damaged or is of other spaces, or for episodes that have changed.
    """
    if not isinstance(config, LearnedRewardConfig):
        return config, None
    if config.gail:
        data = _expert(config.gail, env)
        found = digest(data)
        if resumed and config.gail_digest not in (None, found):
            raise ValueError(f"gail {config.gail}: the data set has changed since the run began")
        return dataclasses.replace(config, gail_digest=found), data
    if config.reward_model and not resumed:
        model = read_reward_model(config.reward_model)
        source = f"reward_model {model.source} ({model.fitted_to})"
        check_spaces(source, model.observation_space, model.action_space, env)
        return dataclasses.replace(config, reward_network=model.settings), model
    return config, None


def _expert(name: str, env: Env) -> EpisodeData:
    try:
        data = read_dataset(name)
    except ValueError as error:
        raise ValueError(f"gail {name}: {first_line(error)}") from error
    check_spaces(f"gail {name}", data.observation_space, data.action_space, env)
    return data


def check_spaces(source: str, observed: gym.Space[Any], acted: gym.Space[Any], env: Env) -> None:
    """ValueError if the observations or actions of a source are not those of the environment.

    Bounds of observations may differ. Those of actions may not: what an action means depends on them.
    """
    if not same_kind(observed, env.single_observation_space):
        theirs, ours = described(observed), described(env.single_observation_space)
        raise ValueError(f"{source} has observations {theirs}, but those of {env.id} are {ours}")
    if acted != env.single_action_space:
        raise ValueError(f"{source} has actions {acted}, but those of {env.id} are {env.single_action_space}")


def load(agent: Agent, source: Source) -> None:
    """Give an agent the source of its rewards; ValueError if there are too few episodes."""
    from gymnast.agents.policy.actor_critic import ActorCritic  # loads Numba

    learned = agent.learned_reward if isinstance(agent, ActorCritic) else None
    if isinstance(source, EpisodeData):
        assert isinstance(learned, Gail)
        learned.imitate(source)
        return
    assert isinstance(learned, RewardModel)
    try:
        learned.load(source.weights)
    except RuntimeError as error:
        raise UsageError(f"reward_model {source.source} does not match its description: {first_line(error)}") from None
