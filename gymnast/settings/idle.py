"""Refuses flags of a part of an agent that is switched off: they would change nothing.

Presets and suites of several agents may set them, so only the words of `gymnast train` are checked.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from gymnast.errors import UsageError


class Part(NamedTuple):
    """The values of an option with which another one has an effect."""

    option: str
    values: tuple[Any, ...] = ()
    """No values: any but those of `off`, or 0."""
    off: tuple[Any, ...] = (False, None, "none")

    def active(self, value: object) -> bool:
        """Whether the part is switched on with this value of its option."""
        return value in self.values if self.values else value not in self.off

    def missing(self) -> str:
        """What to add to switch the part on, or to drop."""
        flag = "--" + self.option.replace("_", "-")
        if self.values in ((False,), (0,)):
            return f"with {flag}"
        return f"without {flag}" + (f" {' or '.join(self.values)}" if self.values else "")


PRIORITIES, NOISE, NOVELTY, MEMORY = Part("prioritized"), Part("noisy"), Part("intrinsic"), Part("recurrent")
SOFT = Part("munchausen")
ACTORS, BY_CHANCE = Part("actors"), Part("noisy", (False,))
NATURAL = Part("policy_loss", ("natural", "trust-region"))
SEARCHED = Part("policy_loss", ("trust-region",))
AHEAD, ANNEALED = Part("auxiliary", ("self-prediction",)), Part("anneal_steps")
DETERMINISTIC, LEARNED = Part("policy", ("deterministic",)), Part("temperature", ("auto",))
STOCHASTIC, TARGETS = Part("policy", ("stochastic",)), Part("target_network")
PARTS: dict[str, tuple[Part, ...]] = {
    "actor_alpha": (ACTORS, BY_CHANCE),
    "actor_epsilon": (ACTORS, BY_CHANCE),
    "actor_sync": (ACTORS,),
    "atoms": (Part("values", ("categorical",)),),
    "auxiliary_weight": (Part("auxiliary"),),
    "barlow_coef": (Part("decoder", ("none",)),),
    "bootstrap_probability": (Part("bootstrap_heads"),),
    "bootstrap_vote": (Part("bootstrap_heads"),),
    "burn_in": (MEMORY,),
    "cg_damping": (NATURAL,),
    "cg_steps": (NATURAL,),
    "cg_tolerance": (NATURAL,),
    "clip": (Part("policy_loss", ("clipped",)),),
    "drop_quantiles": (Part("values", ("quantile",)),),
    "dueling_aggregation": (Part("dueling"),),
    "epsilon": (BY_CHANCE, Part("actors", (0,))),
    "exploration": (DETERMINISTIC,),
    "exploration_noise": (DETERMINISTIC,),
    "fisher_share": (NATURAL,),
    "final_gamma": (ANNEALED,),
    "final_n_step": (ANNEALED,),
    "hindsight_ratio": (Part("hindsight"),),
    "initial_temperature": (STOCHASTIC, LEARNED),
    "intrinsic_coef": (NOVELTY,),
    "intrinsic_gamma": (NOVELTY,),
    "kappa": (Part("values", ("quantile", "implicit")),),
    "line_search_shrink": (SEARCHED,),
    "line_search_steps": (SEARCHED,),
    "loss": (Part("values", ("scalar", "rescaled")),),
    "max_kl": (NATURAL,),
    "memory_size": (MEMORY,),
    "munchausen_alpha": (SOFT,),
    "munchausen_clip": (SOFT,),
    "munchausen_temperature": (SOFT,),
    "noise": (NOISE,),
    "noisy_epsilon": (NOISE,),
    "noisy_sigma": (NOISE, Part("noise", ("factorised",))),
    "norm_warm_up": (Part("critic_norm", ("batch-renorm",)),),
    "penalty_weight": (Part("weight_penalty"),),
    "prediction_momentum": (AHEAD,),
    "prediction_steps": (AHEAD,),
    "priority": (PRIORITIES,),
    "priority_alpha": (PRIORITIES,),
    "priority_beta": (PRIORITIES,),
    "priority_eta": (PRIORITIES, MEMORY),
    "quantiles": (Part("values", ("quantile", "implicit")),),
    "reset_keep": (Part("reset_period"),),
    "sequence_length": (MEMORY,),
    "sequence_period": (MEMORY,),
    "target_entropy": (STOCHASTIC, LEARNED),
    "target_noise": (DETERMINISTIC,),
    "target_noise_clip": (DETERMINISTIC, Part("target_noise")),
    "target_period": (TARGETS,),
    "tau": (TARGETS,),
    "temperature": (STOCHASTIC,),
    "temperature_learning_rate": (STOCHASTIC, LEARNED),
    "value_coef": (Part("policy_loss", ("clipped", "plain")),),
    "v_max": (Part("values", ("categorical",)),),
    "v_min": (Part("values", ("categorical",)),),
}
"""By option: the parts that must all be on for it to have an effect, in agents that have the part's option at all."""


def check(config: Any, given: Mapping[str, Any]) -> None:
    """UsageError for the first given option whose part is off in the config."""
    for name, value in given.items():
        for part in PARTS.get(name, ()):
            if hasattr(config, part.option) and not part.active(getattr(config, part.option)):
                flag = "--" + name.replace("_", "-")
                raise UsageError(f"{flag} {_written(value)}".rstrip() + f" has no effect {part.missing()}")


def _written(value: object) -> str:
    """A value as on the command line; a switch has none."""
    if isinstance(value, bool):
        return ""
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
