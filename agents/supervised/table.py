"""The tasks of `gymnast fit` and the kinds of models of `gymnast pretrain` by name. None of them is imported here."""

from __future__ import annotations

from importlib import import_module
from typing import Any, NamedTuple

from gymnast.agents.supervised.config import FitConfig


class TaskEntry(NamedTuple):
    """Where a task's class is, and what it does."""

    path: str
    """`module:Class`, in this folder."""
    help: str
    epochs: int
    """Passes over the data by default."""
    needs: str
    """Kind of data: labelled, episodes, or observations of either."""
    model: str = ""
    """Model of `gymnast pretrain` of which this is one kind; its name is then MODEL-KIND."""


TASKS: dict[str, TaskEntry] = {
    "classify": TaskEntry("labelled:Classify", "classes of examples, or of every step of sequences", 40, "labelled"),
    "regress": TaskEntry("labelled:Regress", "numbers that belong to examples", 40, "labelled"),
    "behaviour-cloning": TaskEntry(
        "imitation:BehaviourCloning", "a policy that acts as the data do, or as a teacher would", 20, "episodes"
    ),
    "distillation": TaskEntry(
        "imitation:Distillation", "a policy with a teacher's whole distribution over actions", 20, "episodes"
    ),
    "dynamics": TaskEntry(
        "dynamics:Dynamics", "next observation (or its features), reward and end, after an action", 20, "episodes"
    ),
    "inverse-dynamics": TaskEntry(
        "models:InverseDynamics", "the action between an observation and the next", 20, "episodes"
    ),
    "value": TaskEntry("models:Value", "the discounted return from an observation", 20, "episodes"),
    "reward": TaskEntry("models:Reward", "the reward of an action after an observation", 20, "episodes"),
    "contrastive": TaskEntry(
        "representation:Contrastive", "features that tell an observation from others", 20, "episodes"
    ),
    "skip-gram": TaskEntry(
        "representation:SkipGram", "embeddings of Discrete states by what is visited near them", 20, "episodes"
    ),
}


MODELS = {
    "autoencoder": "a network that encodes observations, and one that restores them",
    "gan": "a network that generates observations, and one that tells them from real ones",
    "energy": "energies of observations and hidden units, low where they are likely",
}
"""The models of `gymnast pretrain`, which need no labels."""
AUTOENCODERS = {
    "convolutional": (
        "plain:Autoencoder",
        20,
        "the plain one: the features, or fewer numbers, from which all is restored",
    ),
    "linear": ("linear:LinearAutoencoder", 100, "linear maps, which find the subspace of the principal components"),
    "stacked": ("stacked:Stacked", 40, "fully connected layers, which may learn one by one first"),
    "recurrent": ("recurrent:Recurrent", 40, "one code of several consecutive observations"),
    "denoising": ("denoising:Denoising", 20, "restores observations from noisy or incomplete ones"),
    "sparse": ("sparse:Sparse", 40, "a wide code, few numbers of which are active at a time"),
    "contractive": ("contractive:Contractive", 20, "a code that changes little with the observation"),
    "vq": ("vq:VectorQuantised", 40, "a code of entries of a learned codebook"),
    "masked": ("masked:Masked", 20, "restores hidden patches of images from the others"),
    "wasserstein": (
        "wasserstein:WassersteinAutoencoder",
        40,
        "codes that are normal together, so that samples can be drawn",
    ),
    "variational": ("variational:Variational", 40, "a distribution over codes and observations, to draw samples from"),
}
GANS = {
    "vanilla": ("vanilla:Vanilla", 40, "the original one, with the non-saturating loss"),
    "dcgan": ("dcgan:DeepConvolutional", 20, "convolutions with batch normalisation on both sides"),
    "wgan": ("wgan:Wasserstein", 40, "a critic with clipped weights, after the Wasserstein distance"),
    "wgan-gp": ("wgan_gp:WassersteinGP", 40, "the same with a penalty of the critic's gradient"),
    "lsgan": ("lsgan:LeastSquares", 40, "least squares"),
    "hinge": ("hinge:Hinge", 40, "the hinge loss and spectral normalisation"),
    "conditional": ("conditional:Conditional", 40, "observations of a class, or before an action"),
    "infogan": ("infogan:InfoGAN", 40, "codes that can be read from what is generated"),
}
ENERGY = {
    "rbm": ("rbm:Machine", 100, "restricted Boltzmann machines, one or a stack, as an encoder"),
    "boltzmann": ("boltzmann:BoltzmannMachine", 40, "a Boltzmann machine of a few units, over zeros and ones"),
}
for _model, _package, _kinds in (
    ("autoencoder", "autoencoders", AUTOENCODERS),
    ("gan", "gans", GANS),
    ("energy", "energy", ENERGY),
):
    TASKS |= {
        f"{_model}-{kind}": TaskEntry(f"{_package}.{path}", text, epochs, "observations", _model)
        for kind, (path, epochs, text) in _kinds.items()
    }


def kinds_of(model: str) -> dict[str, TaskEntry]:
    """The kinds of a model by their own names."""
    return {name.removeprefix(f"{model}-"): entry for name, entry in TASKS.items() if entry.model == model}


def of_fit() -> list[str]:
    """The names of the tasks of `gymnast fit`."""
    return [name for name, entry in TASKS.items() if not entry.model]


def task_class(name: str) -> Any:
    """The class of a task."""
    module, _, cls = TASKS[name].path.partition(":")
    return getattr(import_module(f"gymnast.agents.supervised.{module}"), cls)


def config_class(name: str) -> type[FitConfig]:
    """The config of a task."""
    found: type[FitConfig] = task_class(name).Config
    return found
