"""Options of an Atari game, with one-line errors for unsupported ones."""

from __future__ import annotations

import difflib
from dataclasses import asdict, dataclass, fields
from typing import Any

GYMNASIUM_NAMES = {
    "frameskip": "frame_skip",
    "repeat_action_probability": "sticky",
    "max_num_frames_per_episode": "max_frames",
    "use_fire_reset": "fire_reset",
    "img_height": "screen",
    "img_width": "screen",
    "screen_size": "screen",
    "stack_num": "stack",
    "num_threads": "threads",
    "grayscale_obs": "grayscale",
}
EMULATORS = ("ours", "ale")
RESETS = ("bank", "exact")
NOT_HERE = {
    "reward_clipping": "rewards are never clipped by the environment; clip them in the agent's config",
    "episodic_life": "an episode is a whole game; set life_loss in the agent's config to end targets at lost lives",
}


@dataclass(frozen=True)
class AtariOptions:
    """Options of a game; the defaults are those of Hessel et al. (2018), with sticky actions as the id implies."""

    frame_skip: int = 4
    """Emulator frames that each action lasts; the last two are max-pooled."""
    sticky: float | None = None
    """Probability that the emulator repeats its previous action for a frame (Machado et al. 2018); None: by the id."""
    noop_max: int = 30
    """An episode begins with 0 to this many no-op frames, drawn uniformly."""
    fire_reset: bool = False
    """Press FIRE after a reset. Neither Mnih et al. (2015) nor Machado et al. (2018) do; OpenAI's wrappers did."""
    full_action_space: bool = False
    """All 18 actions instead of those that the game uses."""
    max_frames: int = 108_000
    """An episode is truncated after this many frames of play, rounded up to whole env steps: 30 minutes."""
    screen: int = 84
    """Height and width of an observation in pixels."""
    stack: int = 4
    """Number of stacked observations; after a reset the older ones are black."""
    grayscale: bool = True
    """One channel per frame; RGB has three, and stacks are [3 stack, height, width]."""
    mode: int | None = None
    """Variant of the game, by its number in ale-py; None: the game's own. Only our console has modes."""
    difficulty: int = 0
    """Bit 0 is the left player's switch, bit 1 the right one's; only our console has them."""
    threads: int = 0
    """Emulator threads; 0: one per core, but no more than environments."""
    emulator: str | None = None
    """ours: gymnast's own console; ale: ale-py, which plays the same steps; None: ours where it can, else ale."""

    resets: str | None = None
    """On a GPU, what episodes begin with: bank, one of 256 states computed before; exact, a reset. None: bank."""

    def __post_init__(self) -> None:
        smallest = {"frame_skip": 1, "noop_max": 0, "max_frames": 1, "screen": 1, "stack": 1, "threads": 0}
        smallest |= {"difficulty": 0, **({} if self.mode is None else {"mode": 0})}
        for name, low in smallest.items():
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < low:
                raise ValueError(f"{name} must be an integer >= {low}, got {value!r}")
        for name in ("fire_reset", "full_action_space", "grayscale"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"{name} must be true or false, got {getattr(self, name)!r}")
        if self.sticky is not None and not (isinstance(self.sticky, int | float) and 0 <= self.sticky < 1):
            raise ValueError(f"sticky must be at least 0 and below 1, got {self.sticky!r}")
        if self.emulator not in (None, *EMULATORS):
            raise ValueError(f"emulator must be {' or '.join(EMULATORS)}, got {self.emulator!r}")
        if self.resets not in (None, *RESETS):
            raise ValueError(f"resets must be {' or '.join(RESETS)}, got {self.resets!r}")

    @classmethod
    def from_dict(cls, options: dict[str, Any]) -> AtariOptions:
        """The options given by a dict. Raises ValueError for an unknown option, naming its equivalent here."""
        known = [field.name for field in fields(cls)]
        for name in options:
            if name in NOT_HERE:
                raise ValueError(f"Atari has no option {name}: {NOT_HERE[name]}")
            if name not in known:
                near = [GYMNASIUM_NAMES[name]] if name in GYMNASIUM_NAMES else difflib.get_close_matches(name, known, 1)
                hint = f"; did you mean {near[0]}?" if near else ""
                raise ValueError(f"Atari has no option {name}{hint} (allowed: {', '.join(known)})")
        return cls(**options)

    def played(self) -> dict[str, Any]:
        """The options that decide what happens."""
        return {name: value for name, value in asdict(self).items() if name not in ("threads", "emulator")}

    def of_console(self) -> dict[str, Any]:
        """The options of our console's environments, without those of threads and of an episode's length."""
        names = ("mode", "difficulty", "frame_skip", "noop_max", "fire_reset", "full_action_space", "screen", "stack")
        return {"sticky": self.sticky or 0.0, **{name: getattr(self, name) for name in names}}


def refuse_other(snapshot: dict[str, Any], *, id: str, emulator: str, options: AtariOptions, num_envs: int) -> None:
    """ValueError for a snapshot of another emulator, of other options or of another number of rows."""
    other = snapshot.get("emulator", "ale")  # earlier builds had only ale-py
    if other != emulator:
        raise ValueError(f"the snapshot of {id} is of the emulator {other}, not {emulator}")
    played = options.played()
    for name, value in snapshot.get("options", {}).items():
        if value != played[name]:
            raise ValueError(f"the snapshot of {id} has {name} {value}, not {played[name]}")
    if len(snapshot["obs"]) != num_envs:
        raise ValueError(f"the snapshot of {id} holds {len(snapshot['obs'])} environments, not {num_envs}")


def emulator_of(rom: str, options: AtariOptions) -> str:
    """Which emulator plays a game, ours where it can; ValueError if the one that is asked for cannot."""
    selects = options.mode is not None or options.difficulty != 0
    if options.emulator == "ale":
        if selects:
            raise ValueError("emulator ale has neither mode nor difficulty; use ours")
        return "ale"
    from gymnast.envs.atari2600.games import names  # Numba, which only the console needs

    lacks = None
    if rom not in names():
        lacks = f"emulator ours does not know the game {rom}"
    elif not options.grayscale:
        lacks = "emulator ours has no stacks in colour (grayscale false)"
    if lacks is None:
        return "ours"
    if options.emulator == "ours" or selects:
        raise ValueError(lacks if selects else f"{lacks}; use ale")
    return "ale"
