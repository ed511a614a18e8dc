"""From a resolved configuration to the parts of an experiment, wired together but not yet run."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from typing import Any, Literal

import torch
from torch import nn

from clplat.cache.engine import FeatureCache
from clplat.cache.store import Store
from clplat.config.resolved import Config
from clplat.data.augment import Augment
from clplat.data.collate import Collate
from clplat.data.images import PixelStore, Preprocess
from clplat.data.records import Domain, Example
from clplat.data.walk import words
from clplat.errors import UserError
from clplat.evaluation.evaluator import Evaluator
from clplat.evaluation.routing import RoutingProbe
from clplat.mechanisms.text_space import spaces_of
from clplat.parts.composers.image_only import ImageOnly
from clplat.parts.composers.text_only import TextOnly
from clplat.parts.losses._base import Loss, NoLoss
from clplat.parts.postprocessors._base import PostProcessor
from clplat.parts.probes._base import Probe, checked_probes
from clplat.parts.references._base import Reference
from clplat.provenance import library_versions
from clplat.randomness import seeded
from clplat.retriever import ComposedRetriever
from clplat.runs.early import check_device
from clplat.runs.refusals import cut_texts, reference_of, refuse_unlike_scorer
from clplat.training.strategy import Strategy
from clplat.training.trainer import Trainer


@dataclass
class Assembly:
    """The parts of one experiment."""

    scenario: Any
    benchmark: Any
    domains: list[Domain]
    probes: list[Probe]
    retriever: ComposedRetriever
    strategy: Strategy
    loss: Loss
    reference: Reference | None
    pixels: PixelStore
    cache: FeatureCache | None
    collate: Collate
    postprocessor: PostProcessor | None
    evaluator: Evaluator
    base_fingerprint: str
    #: The parameters that the backbone was loaded with, and the digests of their values then.
    base: dict[nn.Parameter, str]
    cut_texts: list[str]
    #: Names of the parameters of the backbone that each slot set out to train.
    attached: dict[str, list[str]]


def pixel_store(config: Config, retriever: ComposedRetriever) -> PixelStore:
    """Pictures as the backbone of a model wants them, kept beside its features."""
    cache = retriever.cache
    assert cache is None or isinstance(cache, FeatureCache)
    data, store = config.data, cache.store if cache is not None else None
    mode = retriever.backbone.preprocess_cfg.get("resize_mode") or "shortest"
    return _pixels(retriever.backbone.image_size, data.preprocess, mode, data.draft, store)


@lru_cache(maxsize=4)
def _pixels(
    size: int, kind: Literal["clip", "targetpad"], resize: str, draft: int, store: Store | None
) -> PixelStore:
    """One per process: the experiments of a comparison decode each picture once."""
    preprocess = Preprocess(size, kind, resize=resize, draft=draft)
    if store is None:
        return PixelStore(preprocess)
    key = {"what": "pixels", "from": preprocess.fingerprint(), "pillow": library_versions()["pillow"]}
    table = store.table({**key, "dtype": "uint8", "shape": [3, size, size]})
    return PixelStore(preprocess, at_rest=table)


@lru_cache(maxsize=4)
def _store(folder: str | None, limit: str | None) -> Store:
    return Store.default()


def build_retriever(
    config: Config,
) -> tuple[ComposedRetriever, str, dict[str, list[str]], dict[nn.Parameter, str]]:
    """The model as it is before the stream, on its device.

    Returns:
        The model; the fingerprint of the backbone's weights; the names of the parameters in the backbone that
        ``adapter`` and ``prompt`` train; the parameters that were loaded, with the digests of their values.

    Raises:
        UserError: a device that cannot be used, parts that do not fit together.
    """
    check_device(config.device)
    backbone = config.make("backbone")
    fingerprint = backbone.fingerprint()
    base = {parameter: backbone.hashes.digest(parameter) for parameter in backbone.parameters()}
    composer, prompt, adapter = config.make("composer"), config.make("prompt"), config.make("adapter")
    attached: dict[str, list[str]] = {}
    with seeded(config.seed, "initialisation"):
        for slot, part in (("adapter", adapter), ("prompt", prompt)):
            if part is not None:
                attached[slot] = part.attach(backbone)
        retriever = ComposedRetriever(
            backbone, composer, config.make("projection"), config.make("head"), config.make("scorer")
        )
    if not retriever.text_wants:
        for parameter in backbone.tower_parameters("text"):
            parameter.requires_grad_(False)
    retriever.to(config.device).eval()
    if config.features != "off":
        store = _store(os.environ.get("CLPLAT_CACHE"), os.environ.get("CLPLAT_CACHE_LIMIT"))
        dtype = torch.float16 if config.features == "fp16" else torch.float32
        retriever.cache = FeatureCache(backbone, store, dtype)
    return retriever, fingerprint, attached, base


def assemble(config: Config) -> Assembly:
    """Build every part of a configuration.

    Raises:
        UserError: parts that do not fit together, data that cannot be used.
    """
    scenario = config.make("scenario")
    benchmark = scenario.benchmark()
    domains = [experience.domain for experience in benchmark.train_stream]
    strategy = config.make("strategy")
    probes = _probes(config, benchmark, strategy)
    retriever, fingerprint, attached, base = build_retriever(config)
    refuse_unlike_scorer(config, retriever)
    backbone, cache = retriever.backbone, retriever.cache
    assert cache is None or isinstance(cache, FeatureCache)
    pixels = pixel_store(config, retriever)
    collate = Collate(pixels, backbone.tokenize, _augment(config), config.make("transform"), config.seed)
    # A prompt takes places of the context, so that texts are counted with it attached.
    tables = [space.table.rows.values() for space in spaces_of(retriever.composer) if space.table is not None]
    read = chain.from_iterable(chain.from_iterable(tables))
    said = chain(words([domains, _trained_on(collate, domains)]), *(probe.texts for probe in probes), *read)
    cut = cut_texts(retriever, said, config.data.long_texts)
    evaluator = Evaluator(
        domains,
        probes,
        split=config.evaluation.split,
        pictures=pixels.images,
        tokenize=backbone.tokenize,
        composers={"own": retriever.composer, "image_only": ImageOnly(), "text_only": TextOnly()},
        batch_size=config.evaluation.batch_size,
    )
    return Assembly(
        scenario=scenario,
        benchmark=benchmark,
        domains=domains,
        probes=probes,
        retriever=retriever,
        strategy=strategy,
        loss=config.make("loss") or NoLoss(),
        reference=reference_of(config, domains),
        pixels=pixels,
        cache=cache,
        collate=collate,
        postprocessor=config.make("postprocessor"),
        evaluator=evaluator,
        base_fingerprint=fingerprint,
        base=base,
        cut_texts=cut,
        attached=attached,
    )


def _probes(config: Config, benchmark: Any, strategy: Strategy) -> list[Probe]:
    """The scenario's own probes, those of the configuration beside them, and that of a router."""
    outside = [stream for stream in benchmark.streams.values() if stream.name == "probe"]
    own = [experience.probe for stream in outside for experience in stream]
    chosen = config.make("probes")
    found = [*own, *(chosen.beside(own) if chosen is not None else ())]
    routed = strategy.routes and not any(isinstance(probe, RoutingProbe) for probe in found)
    return checked_probes([*found, *([RoutingProbe()] if routed else [])])


def _augment(config: Config) -> Augment | None:
    data = config.data
    return Augment(data.augment, data.views, config.seed) if data.augment != "none" else None


def _trained_on(collate: Collate, domains: Sequence[Domain]) -> list[Example]:
    """What the transform makes of the training data; without one, nothing that is not there already."""
    if collate.transform is None:
        return []
    try:
        return [collate.transformed(example) for domain in domains for example in domain.train]
    except ValueError as error:
        raise UserError(f"transform: {error}") from error


def make_trainer(config: Config, parts: Assembly, on_step: Any = None) -> Trainer:
    """The trainer of an assembled experiment."""
    adapter = config.make("adapter")  # which groups it wants depends on its options alone
    return Trainer(
        sampler=config.make("sampler"),
        reference=parts.reference,
        groups=adapter.groups if adapter is not None else lambda names: (),
        model=parts.retriever,
        strategy=parts.strategy,
        collate=parts.collate,
        loss=parts.loss,
        config=config.train,
        seed=config.seed,
        device=config.device,
        on_step=on_step,
    )


def refuse_idle_parts(config: Config, parts: Assembly) -> None:
    """Refuse a combination in which something that was chosen to be trained never is."""
    strategy, composer = config.name("strategy"), config.name("composer")
    if not parts.strategy.trains:
        return
    if not any(len(domain.train) for domain in parts.domains):
        raise UserError(
            f"strategy '{strategy}' trains, but no domain of the stream has training examples; choose "
            "--strategy frozen"
        )
    if parts.strategy.grows:
        return
    trained = {name for name, p in parts.retriever.named_parameters() if p.requires_grad}
    for slot, names in parts.attached.items():
        if not any(f"backbone.{name}" in trained for name in names):
            raise UserError(
                f"{slot} '{config.name(slot)}' would never be trained: composer '{composer}' does not "
                f"read what it changes; choose another composer, another {slot}, or --{slot} none"
            )
    if not trained:
        raise UserError(
            f"strategy '{strategy}' has nothing to train: no adapter, no prompt, and composer '{composer}' "
            "has no weights; add one, e.g. --adapter lora, or choose --strategy frozen"
        )
