"""Mammoth's own models, from a folder with its code, trained on the streams of `benchmarks.side_by_side`.

Nothing of Mammoth is copied or installed: its modules are imported from the folder, one model at a time. Its
packages ``datasets`` and ``models`` import all that is in them, one of which downloads weights; stand-ins of
these names, which import nothing, take their place.
"""

from __future__ import annotations

import importlib
import logging
import os
import random
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from functools import partial
from io import StringIO
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader

from benchmarks.side_by_side import BATCH, EPOCHS, MOMENTUM, RATE, accuracy, network, stream
from clplat.randomness import generator, seeded

__all__ = ["FOLDER", "begun", "missing", "stand_in", "train"]

#: The environment variable that names Mammoth's folder.
FOLDER = "CLPLAT_MAMMOTH"
#: What every model of theirs is told, beside its own arguments.
_COMMON = {
    "lr": RATE, "optimizer": "sgd", "optim_wd": 0.0, "optim_mom": MOMENTUM, "optim_nesterov": False,
    "n_epochs": EPOCHS, "batch_size": BATCH, "lr_scheduler": None, "label_perc": 1, "nowand": 1,
    "debug_mode": 0, "num_workers": 0, "dataset": "digits", "backbone": "digits",
}  # fmt: skip


def missing() -> str | None:
    """What to do before Mammoth's models can be trained; None where nothing is missing."""
    folder = os.environ.get(FOLDER, "")
    if not (Path(folder) / "models" / "utils" / "continual_model.py").is_file():
        return (
            "Mammoth's code is missing: git clone https://github.com/aimagelab/mammoth, "
            f"then --mammoth FOLDER (or {FOLDER}=FOLDER)"
        )
    if importlib.util.find_spec("kornia") is None:
        return "Mammoth imports kornia: pip install 'kornia<0.8'"
    return None


class Digits:
    """The training data of an experience, as Mammoth's models look at it: some change what it holds."""

    def __init__(self, pictures: Tensor, labels: Tensor) -> None:
        self.data, self.targets = pictures, labels
        self.extra_return_fields: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, row: int) -> tuple[Any, ...]:
        more = (getattr(self, name)[row] for name in self.extra_return_fields)
        return self.data[row], self.targets[row], self.data[row], *more


class Stream:
    """What Mammoth's models ask of a benchmark."""

    SIZE = (8, 8)
    TEST_TRANSFORM = None

    def __init__(self, name: str, args: Namespace) -> None:
        self.args, self.name = args, name
        self.SETTING = "class-il" if name == "classes" else "domain-il"
        self.N_TASKS = len(stream(name))
        self.N_CLASSES = 10 if name == "classes" else 5
        self.N_CLASSES_PER_TASK = 10 // self.N_TASKS
        self.test_loaders: list[Any] = []
        self.train_loader: DataLoader[Any]

    def begin(self, number: int) -> None:
        """Their own passes over the data draw from a generator of their own, not from that of our loop."""
        x, y = stream(self.name)[number][0].tensors
        data: Any = Digits(_pictures(x), y)
        draw = generator(self.args.seed, "their passes", number)
        self.train_loader = DataLoader(data, BATCH, shuffle=True, generator=draw)
        self.test_loaders.append(Namespace(dataset=Namespace()))  # they count them

    def get_offsets(self, task: int) -> tuple[int, int]:
        first = task * self.N_CLASSES_PER_TASK if self.SETTING == "class-il" else 0
        return first, first + self.N_CLASSES_PER_TASK

    def get_class_names(self) -> list[str]:
        return ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]

    def get_normalization_transform(self) -> None:
        return None

    def get_denormalization_transform(self) -> Any:
        return Namespace(mean=[0.0] * 3, std=[1.0] * 3)


def train(model: str, arguments: dict[str, Any], name: str, seed: int, **common: Any) -> float:
    """Accuracy of a model of theirs after their way through a stream, from the weights that ours starts with.

    Args:
        model: a module of their package ``models``.
        arguments: of that model; all others are those that it has by default.
        name: of the stream.
        seed: as in `benchmarks.side_by_side`.
        common: as in `begun`.
    """
    with seeded(seed, "shuffling"), redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        learner, benchmark = begun(model, arguments, name, seed, **common)
        for number in range(benchmark.N_TASKS):
            benchmark.begin(number)
            _experience(learner, benchmark)
    learner.eval()
    return accuracy(lambda x: learner(_pictures(x)), name)


def begun(
    model: str,
    arguments: dict[str, Any],
    name: str,
    seed: int,
    prepare: Callable[[], None] | None = None,
    started: Callable[[Any], None] | None = None,
    backbone: Callable[[], Any] | None = None,
    **settings: Any,
) -> tuple[Any, Stream]:
    """A model of theirs before a stream, and the stream.

    Args:
        model, arguments, name, seed: as in `train`.
        prepare: called when its modules are imported, before it is made.
        started: called with it when it is made.
        backbone: makes a network of theirs in place of ours.
        settings: in place of those that every model is told.
    """
    kind = _kind(model)
    if prepare is not None:
        prepare()
    parser = ArgumentParser()
    parser = kind.get_parser(parser) or parser
    words = [f"--{key}={value}" for key, value in arguments.items() if not isinstance(value, list)]
    lists = {key: value for key, value in arguments.items() if isinstance(value, list)}
    own = vars(parser.parse_args(words))
    args = Namespace(**{**own, **lists, **_COMMON, **settings, "seed": seed})
    benchmark = Stream(name, args)
    make = backbone or partial(_backbone, name, seed)
    _answers(benchmark, make)
    random.seed(seed)
    np.random.seed(seed)
    learner = kind(make(), cross_entropy, args, None, benchmark)
    if started is not None:
        started(learner)
    return learner, benchmark


def _pictures(x: Tensor) -> Tensor:
    """Grey in three channels, as X-DER's augmentations want it; `_backbone` takes their mean."""
    return x.view(-1, 1, 8, 8).expand(-1, 3, -1, -1)


def _experience(learner: Any, benchmark: Stream) -> None:
    """As their loop: ``utils/training.py``."""
    learner.train()
    learner.meta_begin_task(benchmark)
    data: Any = benchmark.train_loader.dataset
    for epoch in range(learner.args.n_epochs):
        learner.meta_begin_epoch(epoch, benchmark)
        for x, y, plain, *more in DataLoader(data, BATCH, shuffle=True):
            fields = dict(zip(data.extra_return_fields, more, strict=True))
            learner.meta_observe(x, y, plain, epoch=epoch, **fields)
        learner.meta_end_epoch(epoch, benchmark)
    learner.meta_end_task(benchmark)


def _kind(model: str) -> Any:
    """The class of a module of their package ``models``."""
    stand_in()
    module = importlib.import_module(f"models.{model}")
    base = importlib.import_module("models.utils.continual_model").ContinualModel
    own = [c for c in vars(module).values() if isinstance(c, type) and c.__module__ == module.__name__]
    return next(c for c in own if issubclass(c, base))


def stand_in() -> None:
    """Mammoth's folder among those that are imported from; two of its packages without what they import."""
    folder = os.environ[FOLDER]
    if folder in sys.path:
        return
    sys.path.insert(0, folder)
    for name in ("datasets", "models"):
        package = sys.modules[name] = ModuleType(name)
        package.__path__ = [str(Path(folder) / name)]
    for asked in ("get_dataset_names", "get_dataset_config_names"):
        setattr(sys.modules["datasets"], asked, dict)
    vars(sys.modules["models"])["get_model_names"] = dict
    vars(sys.modules["datasets"])["get_dataset"] = None  # set for each run
    logging.disable(logging.WARNING)
    importlib.import_module("utils.conf").get_device.device = torch.device("cpu")


def _answers(benchmark: Stream, make: Callable[[], Any]) -> None:
    """What some models ask for again by name: the benchmark, and a network that begins anew."""
    for module in [m for name, m in sys.modules.items() if name.startswith(("models", "datasets"))]:
        if "get_dataset" in vars(module):
            vars(module)["get_dataset"] = lambda _: benchmark
    if (slca := sys.modules.get("models.slca_utils.inc_net")) is not None:  # has a ViT of fixed sizes
        vars(slca)["get_convnet"] = lambda *_: make()
    kinds = importlib.import_module("backbone").REGISTERED_BACKBONES
    kinds["digits"] = {"class": make, "parsable_args": {}}


def _backbone(name: str, seed: int) -> Any:
    """Our network with the methods that Mammoth asks of one."""
    base: Any = importlib.import_module("backbone").MammothBackbone

    class Network(base):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            model, _ = network(name, seed)
            *below, self.classifier = model.children()
            self.below = nn.Sequential(*below)
            self.out_dim = self.feature_dim = self.classifier.in_features

        def forward(self, x: Tensor, returnt: str = "out") -> Any:
            features = self.below(x.mean(1).flatten(1))
            return features if returnt == "features" else self.classifier(features)

    return Network()
