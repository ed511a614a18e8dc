"""A trained model from the folder of a run: the retriever alone, without data, trainer or tracker."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from clplat.config.raw import read_config
from clplat.config.resolve import resolve
from clplat.config.resolved import Config
from clplat.dotted import registered_only
from clplat.errors import UserError
from clplat.files import read_text
from clplat.retriever import ComposedRetriever
from clplat.runs.assembly import build_retriever
from clplat.runs.checkpoint import load_version
from clplat.runs.run_folder import CONFIG, VERSION_ELSEWHERE
from clplat.training.learner import Learner


def load(run: Path | str, version: int | None = None, device: str | None = None) -> ComposedRetriever:
    """The model that a run trained, in evaluation mode.

    Args:
        run: folder of a run with at least one finished version.
        version: experiences trained; by default the newest.
        device: where it lives; by default the run's.

    Raises:
        UserError: no run there, no such version, weights that are gone or damaged.

    Example:
        >>> retriever = load("runs/first/replay-s0")  # doctest: +SKIP
        >>> retriever.encode_queries(pixels, retriever.backbone.tokenize(["in red"]))  # doctest: +SKIP
    """
    folder = Path(run)
    path = version_file(folder, version)
    config = config_of(folder)
    config = config if device is None else replace(config, device=device)
    retriever, *_ = build_retriever(config)
    put_version(path, config, retriever)
    return retriever.eval()


def config_of(folder: Path) -> Config:
    """The configuration that a folder holds, which names registered parts alone (`clplat.dotted`).

    Raises:
        UserError: there is none, it is damaged, or it names a part that may not be imported.
    """
    read_text(folder / CONFIG)  # where it is damaged, that is an error
    with registered_only(str(folder / CONFIG)):
        return resolve(read_config(folder / CONFIG))


def version_file(folder: Path, version: int | None = None) -> Path:
    """The file of a finished version of the model, the newest unless one is named.

    Raises:
        UserError: there is no version, or not this one.
    """
    files = list((folder / "versions").glob("*.safetensors"))
    if (folder / VERSION_ELSEWHERE).exists():
        files.append(Path((folder / VERSION_ELSEWHERE).read_text(encoding="utf-8", errors="replace")))
    found = {int(path.stem): path for path in files if path.stem.isdecimal()}
    if not found:
        raise UserError(f"{folder} has no finished model version yet")
    chosen = max(found) if version is None else version
    if chosen not in found:
        there = ", ".join(map(str, sorted(found)))
        raise UserError(f"{folder} has no version {chosen} (there are: {there})")
    return found[chosen]


def put_version(path: Path, config: Config, retriever: ComposedRetriever) -> None:
    """Put the weights of a finished version into a model as `build_retriever` makes it."""
    idle = torch.optim.SGD(retriever.parameters(), lr=0.0)  # a learner has an optimizer; nothing steps here
    load_version(path, config.make("strategy"), Learner(retriever, idle))
    retriever.headless = int(path.stem) == 0
