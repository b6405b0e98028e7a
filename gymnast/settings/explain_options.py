"""Options of `gymnast explain`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from gymnast.errors import nearest
from gymnast.settings.options import at_least, check_device, check_env_options, check_wrappers

PARTS = ("saliency", "video", "values", "adversarial", "features", "texture", "embedding", "units", "weights")
"""The parts of an explanation, in the order of its page."""
STEPS = 4_000
"""Steps that are recorded, at most: all of them are held in memory."""
Target = Literal["action", "margin", "value"]
Method = Literal["gradient", "smoothgrad", "integrated", "occlusion"]
Projection = Literal["pca", "tsne"]


@dataclass(frozen=True)
class ExplainOptions:
    """Look inside a trained agent or encoder: pictures, numbers, and one page of all of them, explain.html."""

    run: str = field(metadata={"positional": "RUN"})
    """Folder or checkpoint of a trained or fitted run."""
    env: str = field(metadata={"metavar": "ID"})
    """Environment to play in. In the run's own one, the run's options of it hold too."""
    only: tuple[str, ...] = field(default=(), metadata={"metavar": "NAME ..."})
    """Parts: saliency, video, values, adversarial, features, texture, embedding, units, weights. Default: all."""
    steps: int = 500
    """Steps to play: an agent acts greedily, and random actions show an encoder what it reads."""
    frames: int = 4
    """Observations that are explained one by one."""
    target: Target = "action"
    """What saliency explains: the preference for the action taken, its margin over the mean, or the state's value."""
    baseline: Literal["median", "zero"] = "median"
    """What an observation is compared with: the median of those played, or zeros."""
    integrated_steps: int = 64
    """Steps of integrated gradients; doubled until the sum is right within 1%, up to 1,024."""
    smooth_samples: int = 32
    """Noisy copies of an observation for SmoothGrad."""
    smooth_sigma: float = 0.1
    """Deviation of that noise, as a share of each number's range."""
    patch: int | None = None
    """Side in pixels of the squares that occlusion covers. Default: a tenth of the shorter side."""
    video_method: Method = "gradient"
    """Method of saliency in the video; the others take longer."""
    layer: str = field(default="", metadata={"metavar": "NAME"})
    """Layer for features and weights, as the table of units names it. Default: the last convolution or hidden layer."""
    unit: tuple[int, ...] = field(default=(), metadata={"metavar": "N ..."})
    """Units or channels of that layer, from 0. Default: the six whose activations vary most."""
    ascent_steps: int = 256
    """Steps of gradient ascent for each unit."""
    texture_steps: int = 300
    """Steps of each texture and style."""
    projection: Projection = "pca"
    """How features become points of a plane; tsne needs scikit-learn, of the extra gymnast[data]."""
    epsilon: float = 0.01
    """Largest change of each number in an adversarial observation, as a share of its range."""
    pgd_steps: int = 20
    """Steps of projected gradient descent."""
    seed: int = 0
    """Seed of all random numbers."""
    env_options: str = field(default="", metadata={"metavar": "JSON"})
    """Arguments of the environment's constructor, as a JSON object."""
    wrapper: tuple[str, ...] = field(default=(), metadata={"metavar": "NAME[:OPTION=VALUE] ...", "repeatable": True})
    """Wrappers from gymnasium.wrappers to put around the environment, the first one innermost."""
    frame_stack: int = 1
    """Frames per observation, for your own image environments."""
    native: bool | None = None
    """Use the id's device-native version. Default: on a GPU, if it exists."""
    out: str = field(default="", metadata={"metavar": "FOLDER"})
    """Folder for the page, the pictures and the numbers. Default: explain/ in the run's folder."""
    json: bool = False
    """Print one JSON object."""
    device: str = field(default="cpu", metadata={"metavar": "DEVICE"})
    """auto, cpu, cuda, cuda:N or mps."""
    threads: int = 1
    """CPU threads of torch and NumPy."""
    trust: bool = False
    """Import the code from outside gymnast that the checkpoint names."""

    def __post_init__(self) -> None:
        if not self.env:
            raise ValueError("env must be an id, got ''")
        for name in self.only:
            if name not in PARTS:
                raise ValueError(f"only must be among {', '.join(PARTS)}, got {name!r}{nearest(name, PARTS)}")
        if len(set(self.only)) < len(self.only):
            raise ValueError(f"only takes each name once, got {' '.join(self.only)}")
        for name in ("steps", "frames", "integrated_steps", "smooth_samples", "ascent_steps", "texture_steps"):
            at_least(name, getattr(self, name), 1)
        for name in ("pgd_steps", "frame_stack", "threads"):
            at_least(name, getattr(self, name), 1)
        if self.steps > STEPS:
            raise ValueError(f"steps must be at most {STEPS:,}, got {self.steps:,}")
        if self.patch is not None:
            at_least("patch", self.patch, 1)
        for name in ("smooth_sigma", "epsilon"):
            if not 0.0 < getattr(self, name) <= 1.0:
                raise ValueError(f"{name} must be > 0 and <= 1, got {getattr(self, name)}")
        at_least("seed", self.seed, 0)
        for unit in self.unit:
            at_least("unit", unit, 0)
        if len(set(self.unit)) < len(self.unit):
            raise ValueError(f"unit takes each number once, got {' '.join(map(str, self.unit))}")
        check_device(self.device)
        check_env_options(self.env_options)
        check_wrappers(self.wrapper)
