"""The learned model of an environment: latents of observations, and the dynamics of latents."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import torch
from torch import Tensor
from torch.nn import functional

from gymnast.agents.base import Metrics, restore_generator
from gymnast.agents.optim import optimizers
from gymnast.agents.optim.phases import Part
from gymnast.agents.optim.update import Update
from gymnast.agents.world_models.world_models_config import WorldModelsConfig
from gymnast.envs.step import Obs, map_obs
from gymnast.networks.build import Backbone, build
from gymnast.networks.fast.flat import FlatParameters
from gymnast.networks.layers.images import has_image
from gymnast.networks.layers.inputs import Vector
from gymnast.networks.modes import acting
from gymnast.networks.world_models.latents import VAE, Latents, Numbers
from gymnast.networks.world_models.mdn_rnn import MDNRNN, Noise
from gymnast.replay.sequences import SequenceBatch


class Model:
    """Latents and dynamics, and their updates.

    Raises:
        ValueError: for spaces that networks do not read, or images whose pixels would be predicted one by one.
    """

    def __init__(
        self,
        observation_space: gym.Space[Any],
        action_space: gym.Space[Any],
        config: WorldModelsConfig,
        *,
        backbone: Backbone,
        device: torch.device,
        generator: torch.Generator,
    ) -> None:
        self.config, self.device = config, device
        self.latents: Latents = acting(_latents(observation_space, config, backbone, generator).to(device))
        self.action = Vector(action_space).to(device)
        actions, sizes = self.action.out_features, {"units": config.units, "mixtures": config.mixtures}
        self.dynamics = MDNRNN(self.latents.size, actions, **sizes, generator=generator).to(device)
        self.generator = torch.Generator(device).manual_seed(int(torch.randint(2**62, (), generator=generator)))
        """Draws latents, and the observations of an update."""
        self._dynamics_weights = FlatParameters(self.dynamics)
        self._dynamics_update = self._update(self._dynamics_weights, self._dynamics_loss)
        self._vae_weights: FlatParameters | None = None
        if isinstance(self.latents, VAE):
            self._vae_weights = FlatParameters(self.latents)
            self._vae_update = self._update(self._vae_weights, self._vae_loss)

    def _update(self, weights: FlatParameters, loss: Any) -> Update:
        optimizer = optimizers.build("adam", weights.parameter, lr=0.0)
        return Update(loss, weights, optimizer, max_grad_norm=self.config.max_grad_norm, max_grad_value=None)

    @property
    def state_size(self) -> int:
        """Numbers of a state: a latent, and the memory of what came before it."""
        return self.latents.size + self.dynamics.memory_size

    # Learning.

    def start_at(self, batch: SequenceBatch) -> None:
        """Take the units of observations and rewards from a batch, before the first update."""
        self.latents.start_at(self._all_of(batch))
        counted = batch.valid.flatten() > 0
        self.dynamics.scale_rewards(batch.reward.flatten()[counted].to(self.device))

    def learn_latents(self, batch: SequenceBatch, rate: float) -> Metrics:
        """One update of the autoencoder from some observations of a batch."""
        rows = batch.start.numel()
        index = torch.randint(rows, (self.config.vae_batch_size,), generator=self.generator, device=self.device)
        obs = map_obs(lambda part: part[index], self._all_of(batch))
        return self._step(self._vae_update, obs, rate)

    def learn_dynamics(self, batch: SequenceBatch, rate: float) -> Metrics:
        """One update of the dynamics from sequences."""
        self.dynamics.note_rewards(batch.reward.to(self.device), batch.valid.to(self.device) > 0)
        return self._step(self._dynamics_update, batch, rate)

    def update_parts(self) -> Iterator[Part]:
        yield from self._dynamics_update.update_parts()
        if isinstance(self.latents, VAE):
            yield from self._vae_update.update_parts()

    def _step(self, update: Update, batch: Any, rate: float) -> Metrics:
        optimizers.set_learning_rate(update.optimizer, rate)
        metrics = update(batch, None)[1]
        metrics.pop("grad_norm", None)
        return metrics

    def _all_of(self, batch: SequenceBatch) -> Obs:
        """All observations of a batch one after the other, [B * (L + 1), ...]."""
        return map_obs(lambda part: part.flatten(0, 1).to(self.device), batch.obs["obs"])

    def _vae_loss(self, obs: Obs, _: Tensor | None) -> tuple[Tensor, Tensor, Metrics]:
        assert isinstance(self.latents, VAE)
        config = self.config
        loss, parts = self.latents.loss(obs, self.generator, beta=config.beta, free_bits=config.free_bits)
        return loss, loss.detach(), {"vae_loss": loss.detach(), **parts}

    def _dynamics_loss(self, batch: SequenceBatch, _: Tensor | None) -> tuple[Tensor, Tensor, Metrics]:
        """Negative log-likelihood of the next latents, squared error of rewards, and cross-entropy of ends.

        The mean over the steps that hold a transition. The action of a step is kept with the observation after it.
        """
        rows, steps = batch.valid.shape
        with torch.no_grad():
            latent = self.latents.draw(self._all_of(batch), self.generator).view(rows, steps + 1, -1)
            action = self.action_vector(batch.obs["action"][:, 1:].to(self.device))
        start, valid = (part.to(self.device) for part in (batch.start[:, :-1], batch.valid))
        mixture, output = self.dynamics(latent[:, :-1], action, start)
        outcome = self.dynamics.outcomes(output, latent[:, 1:])
        reward = (batch.reward.to(self.device) - self.dynamics.reward_mean) / self.dynamics.reward_std
        ended = (batch.discount.to(self.device) == 0).float()
        count = valid.sum().clamp(min=1.0)
        parts = {
            "model_nll": -mixture.log_likelihood(latent[:, 1:]),
            "model_reward": (outcome.reward - reward).square(),
            "model_end": functional.binary_cross_entropy_with_logits(outcome.end, ended, reduction="none"),
        }
        means = {name: (valid * part).sum() / count for name, part in parts.items()}
        loss = torch.stack(list(means.values())).sum()
        return loss, loss.detach(), {"model_loss": loss.detach()} | {name: m.detach() for name, m in means.items()}

    # Imagining.

    def action_vector(self, action: Tensor) -> Tensor:
        """Actions [..., *shape] of the action space as the inputs [..., A] of the dynamics; two axes lead."""
        vector: Tensor = self.action(action.flatten(0, 1))
        return vector.view(*action.shape[:2], -1)

    def features(self, state: Tensor) -> Tensor:
        """What a controller sees of states [N, M]: the latent and the LSTM's output, [N, Z + H]."""
        return state[:, : self.latents.size + self.dynamics.units]

    def split(self, state: Tensor) -> tuple[Tensor, Tensor]:
        """Latents [N, Z] and memories of states [N, M]."""
        latent, memory = state.tensor_split([self.latents.size], 1)
        return latent, memory

    def begin(self, latent: Tensor) -> Tensor:
        """The states [N, M] of latents [N, Z] that begin an episode."""
        return torch.cat([latent, latent.new_zeros(len(latent), self.dynamics.memory_size)], 1)

    @torch.no_grad()
    def imagine(
        self, state: Tensor, action: Tensor, noise: Noise, *, temperature: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """One imagined step of states [N, M] and actions [N, ...]: states [N, M], rewards [N], and ends bool [N]."""
        latent, memory = self.split(state)
        following, reward, end, memory = self.dynamics.imagine(
            latent, self.action(action), memory, noise, temperature=temperature
        )
        return torch.cat([self.latents.settle(following), memory], 1), reward, end

    @torch.no_grad()
    def after(self, obs: Obs, action: Tensor, start: Tensor) -> Tensor:
        """States [N, M] after observations [N, T, ...], the actions before them, and bool [N, T], where episodes begin.

        The actions are [N, T, ...] too; those before a first observation do not matter.
        """
        rows, steps = start.shape
        latent = self.latents.encode(map_obs(lambda part: part.flatten(0, 1), obs)).view(rows, steps, -1)
        state = self.begin(latent[:, -1])
        if steps > 1:
            memory = self.dynamics.after(latent[:, :-1], self.action_vector(action[:, 1:]), start[:, :-1])
            state[:, self.latents.size :] = memory.masked_fill(start[:, -1:], 0.0)
        return state

    # What is kept.

    def state_dict(self) -> dict[str, Any]:
        state = {
            "latents": {name: value.clone() for name, value in self.latents.state_dict().items()},
            "dynamics": {name: value.clone() for name, value in self.dynamics.state_dict().items()},
            "dynamics_optimizer": optimizers.state_of(self._dynamics_update.optimizer, self._dynamics_weights),
            "generator": self.generator.get_state(),
        }
        if self._vae_weights is not None:
            state["vae_optimizer"] = optimizers.state_of(self._vae_update.optimizer, self._vae_weights)
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.latents.load_state_dict(state["latents"])
        self.dynamics.load_state_dict(state["dynamics"])
        optimizers.load_state(self._dynamics_update.optimizer, state["dynamics_optimizer"], self._dynamics_weights)
        restore_generator(self.generator, state["generator"])
        if self._vae_weights is not None:
            optimizers.load_state(self._vae_update.optimizer, state["vae_optimizer"], self._vae_weights)


def _latents(
    space: gym.Space[Any], config: WorldModelsConfig, backbone: Backbone, generator: torch.Generator
) -> Latents:
    """The latents that a config asks for, untrained."""
    images = has_image(space)
    if config.latent == "none" or (config.latent == "auto" and not images):
        if images:
            raise ValueError(f"latent none would predict every pixel of {space}; use latent vae")
        return Numbers(space, generator)
    built = build(
        backbone,
        space,
        options=config.network_options,
        hidden_sizes=config.hidden_sizes,
        activation=config.activation,
        init=config.init,
        generator=generator,
    )
    return VAE(
        space,
        built,
        size=config.latent_size,
        decoder_sizes=config.decoder_sizes,
        decoder_channels=config.decoder_channels,
        activation=config.activation,
        init=config.init,
        length=config.vae_updates,
        generator=generator,
    )
