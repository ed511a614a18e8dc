"""A model that was trained elsewhere, or by a run, measured on any scenario: no training loop is built."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from clplat import provenance
from clplat.cache.engine import FeatureCache
from clplat.config.annotations import Slot
from clplat.config.fill import filled
from clplat.config.raw import unflatten
from clplat.config.resolve import words_of
from clplat.config.resolved import Config
from clplat.data.fingerprint import queries_fingerprint
from clplat.data.records import Domain
from clplat.data.walk import words
from clplat.evaluation.evaluator import Evaluator
from clplat.evaluation.side_by_side import SideBySide, side_by_side
from clplat.events import Listener
from clplat.kinds import KINDS
from clplat.models.frozen import weights_fixed
from clplat.naming import flat
from clplat.parts.composers._base import Composer
from clplat.parts.composers.image_only import ImageOnly
from clplat.parts.composers.slerp import Slerp
from clplat.parts.composers.sum import Sum
from clplat.parts.composers.text_only import TextOnly
from clplat.runs.assembly import pixel_store
from clplat.runs.blank import described
from clplat.runs.evaluated import Model, asked_for, load_model, recorded, with_split
from clplat.runs.refusals import cut_texts, remarks
from clplat.runs.results import rounded
from clplat.runs.reuse import Reuse
from clplat.runs.submission import submit_lists

__all__ = ["BASELINES", "evaluate"]

SCHEMA = 1
#: Composers without weights, which stand beside every other one. At one half, slerp is the sum.
BASELINES: dict[str, Callable[[], Composer]] = {
    "image_only": ImageOnly,
    "text_only": TextOnly,
    "sum": Sum,
    "slerp (alpha 0.8)": partial(Slerp, alpha=0.8),
}


def evaluate(
    config: Mapping[str, Any],
    *,
    run: Path | str | None = None,
    version: int | None = None,
    composer: Path | str | None = None,
    submit: Path | str | None = None,
    listener: Listener | None = None,
) -> dict[str, Any]:
    """Measure a model with its composer, and with every baseline that needs no training beside it.

    Nothing is trained and nothing is written; what the towers compute is kept by the feature store, and all
    composers share one pass of them.

    Args:
        config: raw, as `clplat.run` takes it: ``backbone``, ``composer``, ``scorer``, ``scenario`` and the
            options ``data``, ``evaluation``, ``device``, ``features``. Unless ``evaluation.split`` is given,
            it is ``test``, or ``val`` where the labels of a domain's test set are hidden.
        run: folder of a run whose model is measured; ``config`` then names another scenario, or nothing.
        version: of that run, experiences trained; by default the newest.
        composer: a safetensors file with the composer's weights alone, as its ``state_dict`` names them.
        submit: a folder for what servers take of sets whose labels are hidden; see `clplat submit`.
        listener: is told what a reader of the numbers should know.

    Returns:
        The evaluation (``docs/result.md``): for each set and composer one number per metric and domain, in
        percent; chance levels; fingerprints and versions.

    Raises:
        UserError: an unknown name, data or weights that cannot be used, a composer whose weights nothing
            trained, an option of training.

    Example:
        >>> small = {"scenario": "catalogue", "scenario.domains": 1, "scenario.queries": 8}
        >>> found = evaluate({**small, "scenario.gallery": 20, "composer": "slerp"})
        >>> list(found["sets"]["test"]["metrics"])
        ['image_only', 'text_only', 'sum', 'slerp (alpha 0.8)', 'slerp']
    """
    start, listener = time.perf_counter(), listener or Listener()
    folder, weights, out = (None if one is None else Path(one) for one in (run, composer, submit))
    resolved = asked_for(config, folder)
    scenario = resolved.make("scenario")
    domains: Sequence[Domain] = scenario.build()[0]
    resolved = with_split(resolved, config, domains)
    model = load_model(resolved, folder, version, weights)
    result = _blank(resolved, model, scenario, domains)
    result |= {"command": _command(config, run, version, composer), "config": recorded(resolved, folder)}
    result |= _measured(resolved, model, scenario, domains, listener, out)
    result["measured"]["seconds"] = round(time.perf_counter() - start, 3)
    return result


def _blank(config: Config, model: Model, scenario: Any, domains: Sequence[Domain]) -> dict[str, Any]:
    """What is known before anything is measured."""
    split, backbone = config.evaluation.split, model.retriever.backbone
    return {
        "schema": SCHEMA,
        "name": f"{config.name('backbone')} {config.name('composer')} {config.name('scenario')}",
        "domains": [domain.name for domain in domains],
        "split": split,
        "model": {
            **model.about,
            "parameters": sum(parameter.numel() for parameter in backbone.parameters()),
            "width": model.retriever.width,
            "context_length": backbone.context_length,
            "preprocess": {"kind": config.data.preprocess, **backbone.preprocess_cfg},
        },
        "fingerprints": {
            "data": scenario.fingerprint(),
            "queries": queries_fingerprint(domains, split),
            "weights": model.weights,
            "code": provenance.code_fingerprint(),
        },
        "versions": provenance.library_versions(),
    }


def _measured(
    config: Config,
    model: Model,
    scenario: Any,
    domains: Sequence[Domain],
    listener: Listener,
    submit: Path | None,
) -> dict[str, Any]:
    for remark in remarks(config, scenario):
        listener.note(remark)
    split, retriever = config.evaluation.split, model.retriever
    looked_at = [[domain.sets.get(split), *domain.beside(split).values()] for domain in domains]
    cut = cut_texts(retriever, list(words(looked_at)), config.data.long_texts)
    pixels = pixel_store(config, retriever)
    own, composers = _composers(config, retriever.composer)
    evaluator = Evaluator(
        domains,
        [],
        split=split,
        pictures=pixels.images,
        tokenize=retriever.backbone.tokenize,
        composers=composers,
        batch_size=config.evaluation.batch_size,
    )
    assert retriever.cache is None or isinstance(retriever.cache, FeatureCache)
    reuse, measured = Reuse(retriever.cache, pixels, listener), dict[str, Any]()
    with weights_fixed():
        found = side_by_side(evaluator, retriever)
    reuse.note(measured)
    sets = {split: dict(zip(evaluator.names, evaluator.sets, strict=True)), **evaluator.further}
    if submit is not None:
        for path in submit_lists(submit, sets, {name: one.lists for name, one in found.items()}):
            listener.note(f"written: {path}")
    return {
        "composer": own,
        "composers": [*(name for name in composers if name != "own"), own],
        "primary": evaluator.primary,
        "data": {"cut_texts": cut, "report": getattr(scenario, "report", {})},
        "sets": {name: {"protocol": described(sets[name]), **_set(one, own)} for name, one in found.items()},
        "measured": {**measured, "peak_memory_bytes": provenance.peak_memory_bytes()},
    }


def _set(found: SideBySide, own: str) -> dict[str, Any]:
    """A set as plain data, the baselines in their order and the model's own composer last."""
    order = [
        *(who for who in found.composers if who != "own"),
        *(["own"] if "own" in found.composers else []),
    ]
    plain = {own if who == "own" else who: asdict(found.composers[who]) for who in order}
    columns = {key: {who: one[key] for who, one in plain.items()} for key in ("metrics", "tags", "ties")}
    held: dict[str, Any] = rounded({**columns, "chance": found.chance})
    return held


def _composers(config: Config, own: Composer) -> tuple[str, dict[str, Composer]]:
    """What the own composer is called, and it and the baselines, without the one that it is."""
    part = config.parts["composer"]
    usual = filled(Slot.of(KINDS["composer"]), part.name, "composer").options
    changed = ", ".join(f"{key} {value}" for key, value in part.options.items() if value != usual[key])
    label = f"{part.name} ({changed})" if changed else part.name
    return label, {"own": own, **{name: made() for name, made in BASELINES.items() if name != label}}


def _command(
    raw: Mapping[str, Any], run: Path | str | None, version: int | None, composer: Path | str | None
) -> str:
    given = ["clplat", "evaluate", *(["--run", str(run)] if run is not None else [])]
    given += ["--model-version", str(version)] if version is not None else []
    given += ["--composer-weights", str(composer)] if composer is not None else []
    for key, value in flat(unflatten(raw)).items():
        given += words_of(key, value)
    return shlex.join(given)
