"""Libraries that come by extras: ``pip install clplat`` needs torch alone; what is missing says its extra.

Strategies, losses and composers run in anybody's loop with torch alone. Experiments, models, tracking and
tuning need more: ``clplat[all]`` is everything that the commands use.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from clplat.errors import UserError

__all__ = ["EXTRAS", "MissingLibrary", "named_extras"]

#: Module that is imported -> extra that installs it.
EXTRAS = {
    "PIL": "clip",
    "accelerate": "test-integrations",
    "avalanche": "avalanche",
    "datasets": "tables",
    "lightning": "test-integrations",
    "matplotlib": "run",
    "mlflow": "mlflow",
    "numpy": "clip",
    "open_clip": "clip",
    "open_clip_train": "clip",
    "optuna": "optuna",
    "peft": "peft",
    "pandas": "run",
    "pyarrow": "tables",
    "pydantic": "run",
    "rich": "run",
    "safetensors": "clip",
    "scipy": "classes",
    "sklearn": "classes",
    "simplejpeg": "clip",
    "sentence_transformers": "test-integrations",
    "tensorboard": "tensorboard",
    "torchvision": "clip",
    "transformers": "test-integrations",
    "wandb": "wandb",
    "yaml": "run",
}


class MissingLibrary(UserError, ImportError):
    """A library that is not installed; the message names its extra."""


@contextmanager
def named_extras(what: str) -> Iterator[None]:
    """Inside, a library that is missing is named with the extra that installs it.

    Raises:
        MissingLibrary: in place of torch's or Python's own error.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        module = (error.name or "").partition(".")[0]
        if module not in EXTRAS:
            raise
        name = EXTRAS[module]
        raise MissingLibrary(
            f"{what} needs {module}, which is not installed: pip install 'clplat[{name}]', "
            "or 'clplat[all]' for everything",
            name=error.name,
        ) from error
