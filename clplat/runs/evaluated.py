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


def load_model(config: Config, run: Path | None, version: int | None, composer: Path | None = None) -> Model:
    """The model, ready to embed.

    Args:
        config: names its parts.
        run: folder of the run that trained it.
        version: of that run, experiences trained.
        composer: a file with the composer's weights, of a model that no run here trained.

    Raises:
        UserError: a composer or scorer with weights that nothing trained; no such run, version or file;
            weights of another composer.
    """
    if composer is not None and run is not None:
        raise UserError("--composer-weights goes with a model from elsewhere: a run has its own composer")
    if run is None:
        if version is not None:
            raise UserError("--model-version goes with --run: a model from elsewhere is one version")
        retriever, weights, *_ = build_retriever(config)
        about = {} if composer is None else _put_composer(composer, retriever, config.name("composer"))
        _refuse_untrained(config, retriever, composer is not None)
        return Model(retriever, weights, about)
    path = version_file(run, version)
    retriever, weights, *_ = build_retriever(config)
    put_version(path, config, retriever)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return Model(retriever.eval(), weights, {"run": str(run), "version": int(path.stem), "sha256": digest})


def _put_composer(path: Path, retriever: ComposedRetriever, name: str) -> dict[str, Any]:
    """Load a composer's weights; where they are from, in plain data."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        content = path.expanduser().read_bytes()
        found = load(content)
    except FileNotFoundError:
        raise UserError(f"no such file: {path}") from None
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path} is no safetensors file with a composer's weights: {error}") from error
    own = retriever.composer.state_dict()
    wrong = sorted(own.keys() ^ found.keys()) or [k for k in own if own[k].shape != found[k].shape]
    if wrong:
        raise UserError(f"{path} holds other weights than composer '{name}' has, such as '{wrong[0]}'")
    retriever.composer.load_state_dict(found)
    return {"composer": str(path), "composer_sha256": hashlib.sha256(content).hexdigest()}


def _refuse_untrained(config: Config, retriever: ComposedRetriever, composer: bool) -> None:
    """Refuse parts with weights that nothing trained; ``composer``: its own were loaded."""
    files = {"composer": ", its file, --composer-weights FILE,", "scorer": ","}
    for slot, part in (("composer", retriever.composer), ("scorer", retriever.scorer)):
        loaded = composer and slot == "composer"
        if not loaded and any(True for _ in part.parameters()):
            raise UserError(
                f"{slot} '{config.name(slot)}' has weights, which nothing trained here: name the run that "
                f"trained it, --run runs/x{files[slot]} or a {slot} without weights"
            )


def recorded(config: Config, run: Path | None) -> dict[str, Any]:
    """The part of a configuration that counts here, as plain data."""
    whole = config.as_dict()
    if run is not None:
        return whole
    return {key: value for key, value in whole.items() if key in (*ELSEWHERE, *OPTIONS)}
