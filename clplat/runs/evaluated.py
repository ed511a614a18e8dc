"""What is evaluated: a model from elsewhere or of a run, and the configuration that says on what."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from clplat.config.raw import merge, unflatten
from clplat.config.resolve import resolve
from clplat.config.resolved import Config
from clplat.data.records import Domain
from clplat.errors import UserError
from clplat.retriever import ComposedRetriever
from clplat.runs.assembly import build_retriever
from clplat.runs.early import refuse_early
from clplat.runs.load import config_of, put_version, version_file

__all__ = ["Model", "asked_for", "load_model", "recorded", "with_split"]

#: What can be chosen of a model that was trained elsewhere, and of one that a run trained.
ELSEWHERE, OF_A_RUN = ("scenario", "backbone", "composer", "scorer"), ("scenario",)
OPTIONS = ("data", "evaluation", "device", "features")
#: Slots of training, as they are where nothing is trained; a recipe may say so.
UNTRAINED = {"strategy": "frozen", "adapter": "none", "prompt": "none", "head": "none", "probes": "none"}


@dataclass(frozen=True)
class Model:
    """A model that is measured.

    Args:
        retriever: in evaluation mode, on its device.
        weights: fingerprint of the backbone's weights as they were loaded.
        about: where it is from, in plain data.
    """

    retriever: ComposedRetriever
    weights: str
    about: dict[str, Any]


def asked_for(raw: Mapping[str, Any], run: Path | None) -> Config:
    """The configuration of an evaluation, resolved.

    Args:
        raw: what is chosen.
        run: folder of a run, whose choices lie below.

    Raises:
        UserError: an option that only training has, or that the model of the run has already.
    """
    given, allowed = unflatten(raw), (*(ELSEWHERE if run is None else OF_A_RUN), *OPTIONS)
    for key, value in given.items():
        if run is None and key in UNTRAINED and value == {"name": UNTRAINED[key]}:
            continue
        if key not in allowed:
            why = "takes the model as the run has it" if key in ELSEWHERE else "trains nothing"
            raise UserError(f"evaluate {why}: '--{key}' has no place here (allowed: {', '.join(allowed)})")
    config = resolve(merge(UNTRAINED if run is None else config_of(run).as_dict(), given))
    refuse_early(config)
    return config


def with_split(config: Config, raw: Mapping[str, Any], domains: Sequence[Domain]) -> Config:
    """The split that is measured: the one that is asked for, else ``test`` if its labels are all known."""
    if "split" in unflatten(raw).get("evaluation", {}):
        return config
    known = [{name for name, held in domain.sets.items() if held.labels == "known"} for domain in domains]
    tested = all("test" in names for names in known) or not all("val" in names for names in known)
    split: Literal["test", "val"] = "test" if tested else "val"
    return replace(config, evaluation=replace(config.evaluation, split=split))


def load_model(config: Config, run: Path | None, version: int | None) -> Model:
    """The model, ready to embed.

    Raises:
        UserError: a composer or scorer with weights that nothing trained; no such run or version.
    """
    if run is None:
        if version is not None:
            raise UserError("--model-version goes with --run: a model from elsewhere is one version")
        retriever, weights, *_ = build_retriever(config)
        _refuse_untrained(config, retriever)
        return Model(retriever, weights, {})
    path = version_file(run, version)
    retriever, weights, *_ = build_retriever(config)
    put_version(path, config, retriever)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return Model(retriever.eval(), weights, {"run": str(run), "version": int(path.stem), "sha256": digest})


def _refuse_untrained(config: Config, retriever: ComposedRetriever) -> None:
    for slot, part in (("composer", retriever.composer), ("scorer", retriever.scorer)):
        if any(True for _ in part.parameters()):
            raise UserError(
                f"{slot} '{config.name(slot)}' has weights, which nothing trained here: name the run that "
                f"trained it, --run runs/x, or a {slot} without weights"
            )


def recorded(config: Config, run: Path | None) -> dict[str, Any]:
    """The part of a configuration that counts here, as plain data."""
    whole = config.as_dict()
    if run is not None:
        return whole
    return {key: value for key, value in whole.items() if key in (*ELSEWHERE, *OPTIONS)}
