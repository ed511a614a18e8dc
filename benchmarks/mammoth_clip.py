"""Mammoth's models of a CLIP, with the small one of `benchmarks.small_clip` in place of ViT-B/16.

Its weights are read by their code from a file. Data sets that are downloaded, and schedules of rates, which
ours has none of here, are answered by stand-ins.
"""

from __future__ import annotations

import importlib
import tempfile
from argparse import Namespace
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.mammoth import begun, train
from benchmarks.side_by_side import BATCH
from benchmarks.small_clip import CONTEXT, EPOCHS, TEMPLATE, beside, weights

__all__ = ["start", "theirs"]


def theirs(make: Callable[[], tuple[str, dict[str, Any]]], name: str, seed: int) -> float:
    """Accuracy of a model of theirs; its arguments say ``lr``, the rate of Adam."""
    model, own, settings = _parts(make)
    return train(model, own, name, seed, **settings)


def start(make: Callable[[], tuple[str, dict[str, Any]]], name: str, seed: int) -> Any:
    """A model of theirs before a stream, and the stream."""
    model, own, settings = _parts(make)
    return begun(model, own, name, seed, **settings)


def _parts(make: Callable[[], tuple[str, dict[str, Any]]]) -> tuple[str, dict[str, Any], dict[str, Any]]:
    model, arguments = make()
    own = {**arguments, "prompt_template": TEMPLATE}
    common = {"lr": own.pop("lr"), "optimizer": "adam", "n_epochs": EPOCHS, "clip_backbone": str(_file())}
    return model, own, {**common, "prepare": partial(_prepare, f"models.{model}")}


@cache
def _file() -> Path:
    path = Path(tempfile.mkdtemp()) / "clip.pt"
    torch.save(weights(), path)
    return path


def _prepare(name: str) -> None:
    held: Any = vars(importlib.import_module(name))
    held["CosineSchedulerWithLinearWarmup"] = lambda *_: Namespace(step=lambda: None)
    clip: Any = vars(held["clip"])
    clip["tokenize"] = partial(getattr(clip["tokenize"], "func", clip["tokenize"]), context_length=CONTEXT)
    if "conceptual_captions" in held:
        (_file().parent / "conceptual_captions").mkdir(exist_ok=True)
        held["base_path"] = lambda: _file().parent
        held["conceptual_captions"] = lambda *_, **__: _Beside()


class _Beside:
    """In place of Conceptual Captions."""

    def __init__(self) -> None:
        self.pictures, captions = beside()
        self.train_dataset = Namespace(captions=captions)
        self.train_loader = self

    def __iter__(self) -> Any:
        for rows in torch.randperm(len(self.pictures)).split(BATCH):
            yield self.pictures[rows], rows
