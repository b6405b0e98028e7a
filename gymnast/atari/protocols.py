"""Named Atari protocols, each as its paper plays and scores games, and the settings that a run actually uses.

A score means little without these settings: sticky actions, the frame cap or the evaluation's epsilon can change it
several-fold. So every result states its protocol; one that matches no paper is "custom" and lists all of its settings.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gymnast.envs.atari.names import is_atari
from gymnast.envs.atari.options import AtariOptions
from gymnast.errors import nearest

if TYPE_CHECKING:
    from gymnast.envs.env import Env


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """How Atari games are played, how the learner sees them, and how a trained agent is scored."""

    name: str | None = None
    """The name in `PROTOCOLS`; None for settings that match no paper."""
    frame_skip: int = 4
    """Emulator frames per action."""
    sticky: float
    """Probability that the emulator repeats its previous action for a frame."""
    noop_max: int
    """An episode begins with 0 to this many no-op frames, drawn uniformly (DeepMind's code draws from 1 on)."""
    fire_reset: bool = False
    """Press FIRE after a reset."""
    full_action_space: bool = False
    """All 18 actions instead of those that the game uses."""
    max_frames: int
    """Frames of play after which an episode is truncated, in training and in evaluations."""
    screen: int = 84
    """Height and width of an observation in pixels."""
    stack: int = 4
    """Number of stacked observations."""
    grayscale: bool = True
    """One channel per frame."""
    mode: int | None = None
    """Variant of the game; None: its own."""
    difficulty: int = 0
    """The console's difficulty switches."""
    clip_rewards: bool | None = True
    """The learner sees rewards clipped to [-1, 1]; scores never are. None: the agent has no such setting."""
    life_loss: bool | None
    """The learner sees a lost life as the end; episodes continue. None: the agent has no such setting."""
    eval_epsilon: float | None
    """Probability of a random action in evaluations. None: the agent has no such setting."""
    by_mode: bool = True
    """Evaluations act greedily except for `eval_epsilon`, and do not sample from the policy."""
    paper: str = ""
    """Source of the settings."""

    def as_json(self) -> dict[str, Any]:
        """Name and settings: the stamp of a run."""
        values = dataclasses.asdict(self)
        return {key: value for key, value in values.items() if key != "paper"}

    @property
    def label(self) -> str:
        """The name, or "custom"."""
        return self.name or "custom"

    @property
    def env_options(self) -> dict[str, Any]:
        """The settings that are options of the environment."""
        return {name: getattr(self, name) for name in PLAYED}

    def as_text(self) -> str:
        """All settings in one line of text."""
        lives = {None: "the agent has no setting for lives", True: "a lost life ends the learner's targets"}
        clipping = {None: "the agent has no reward clipping", True: "rewards clipped for the learner"}
        parts = (
            f"skip {self.frame_skip}",
            f"sticky {self.sticky:g}",
            f"0 to {self.noop_max} no-ops" if self.noop_max else "no no-ops",
            "FIRE on reset" if self.fire_reset else "no FIRE on reset",
            "all 18 actions" if self.full_action_space else "minimal actions",
            f"at most {self.max_frames:,} frames",
            f"{self.stack} {'grey' if self.grayscale else 'RGB'} screens of {self.screen}x{self.screen}",
            *([] if self.mode is None else [f"mode {self.mode}"]),
            *([f"difficulty {self.difficulty}"] if self.difficulty else []),
            lives.get(self.life_loss, "the learner ignores lives"),
            clipping.get(self.clip_rewards, "true rewards for the learner"),
            f"evaluated {'greedily' if self.by_mode else 'by sampling'}"
            + ("" if self.eval_epsilon is None else f" with epsilon {self.eval_epsilon:g}"),
        )
        return ", ".join(parts)


UNPLAYED = ("threads", "emulator", "resets")
"""Options of how a game is run."""
PLAYED = tuple(field.name for field in dataclasses.fields(AtariOptions) if field.name not in UNPLAYED)
"""The options of an Atari environment that a protocol fixes: all that change what is played."""
LEARNER = ("clip_rewards", "life_loss", "eval_epsilon")
"""The fields of an agent's config that a protocol fixes, if the config has them."""

PROTOCOLS: dict[str, Protocol] = {
    protocol.label: protocol
    for protocol in (
        Protocol(
            name="nature",
            sticky=0.0,
            noop_max=30,
            max_frames=18_000,
            life_loss=True,
            eval_epsilon=0.05,
            paper="Mnih et al. 2015, methods and extended table 1; the cap of its evaluations applies to training too",
        ),
        Protocol(
            name="rainbow",
            sticky=0.0,
            noop_max=30,
            max_frames=108_000,
            life_loss=True,
            eval_epsilon=0.0,
            paper="Hessel et al. 2018, no-op starts; epsilon 0, because noisy networks explore without it",
        ),
        Protocol(
            name="dopamine",
            sticky=0.25,
            noop_max=0,
            max_frames=108_000,
            life_loss=False,
            eval_epsilon=0.001,
            paper="Castro et al. 2018, the defaults; published curves show training episodes, with epsilon 0.01",
        ),
        Protocol(
            name="machado",
            frame_skip=5,
            sticky=0.25,
            noop_max=0,
            full_action_space=True,
            max_frames=18_000,
            life_loss=False,
            eval_epsilon=0.01,
            paper="Machado et al. 2018; its scores are of training episodes, with the final exploration epsilon",
        ),
    )
}


def check(name: str) -> Protocol:
    """The protocol with this name. Raises ValueError, naming the nearest one."""
    if name not in PROTOCOLS:
        raise ValueError(f"protocol must be one of {', '.join(PROTOCOLS)}, got {name!r}{nearest(name, PROTOCOLS)}")
    return PROTOCOLS[name]


def of(env: Env, config: Any, *, eval_epsilon: float | None = None) -> Protocol | None:
    """The settings of an environment and an agent's config, with the name of the protocol that they match.

    None if the environment is not an Atari game. `eval_epsilon` replaces the config's.
    """
    if not is_atari(env.id):
        return None
    from gymnast.envs.atari.base import Atari  # imports torch, which names of protocols do not need

    if not isinstance(env, Atari):
        return None
    options = env.options
    values = {name: getattr(options, name) for name in PLAYED}
    cap = env.max_episode_steps * options.frame_skip
    learner = {name: getattr(config, name, None) for name in LEARNER}
    learner["eval_epsilon"] = learner["eval_epsilon"] if eval_epsilon is None else eval_epsilon
    found = Protocol(**{**values, **learner, "max_frames": min(cap, options.max_frames)})
    name = next((name for name, protocol in PROTOCOLS.items() if _same(found, protocol)), None)
    return dataclasses.replace(found, name=name)


def stamp(found: Protocol | None) -> dict[str, Any] | None:
    """The entry in config.json and checkpoints: name (None for "custom") and settings; None if it is not Atari."""
    return None if found is None else found.as_json()


def _same(found: Protocol, named: Protocol) -> bool:
    """Whether settings match a protocol; settings that the agent does not have cannot differ."""
    theirs = named.as_json()
    return all(value in (None, theirs[name]) for name, value in found.as_json().items() if name != "name")
