"""From a resolved configuration to the parts of an experiment, wired together but not yet run."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import torch
from torch import Tensor

from clplat.cache.engine import FeatureCache
from clplat.cache.store import Store
from clplat.config.resolve import build
from clplat.data.augment import Augment
from clplat.data.collate import Collate
from clplat.data.images import PixelStore, Preprocess
from clplat.data.records import Domain, Probe
from clplat.errors import UserError
from clplat.evaluation.evaluator import Evaluator
from clplat.models.retriever import ComposedRetriever
from clplat.parts.composers.image_only import ImageOnly
from clplat.parts.composers.text_only import TextOnly
from clplat.provenance import library_versions
from clplat.randomness import seeded
from clplat.training.strategy import Strategy
from scenarios._catalogue import probes as catalogue_probes

__all__ = ["Assembly", "assemble"]


@dataclass
class Assembly:
    """The parts of one experiment."""

    scenario: Any
    benchmark: Any
    domains: list[Domain]
    probes: list[Probe]
    retriever: ComposedRetriever
    adapter: Any
    strategy: Strategy
    loss: Callable[..., Tensor]
    pixels: PixelStore
    cache: FeatureCache | None
    collate: Collate
    evaluator: Evaluator
    base_fingerprint: str
    cut_texts: list[str]


@lru_cache(maxsize=4)
def _pixels(size: int, kind: Literal["clip", "targetpad"], store: Store | None) -> PixelStore:
    """One a process: the experiments of a comparison decode each picture once."""
    preprocess = Preprocess(size, kind)
    if store is None:
        return PixelStore(preprocess)
    key = {"what": "pixels", "from": preprocess.fingerprint(), "pillow": library_versions()["pillow"]}
    table = store.table({**key, "dtype": "uint8", "shape": [3, size, size]})
    return PixelStore(preprocess, at_rest=table)


@lru_cache(maxsize=4)
def _store(folder: str | None, limit: str | None) -> Store:
    return Store.default()


def assemble(config: Mapping[str, Any]) -> Assembly:
    """Build every part of a resolved configuration.

    Raises:
        UserError: parts that do not fit together, data that cannot be used.
    """
    seed, device = config["seed"], config["device"]
    _check_device(device)
    scenario = build(config, "scenario")
    benchmark = scenario.benchmark()
    domains = [experience.domain for experience in benchmark.train_stream]
    outside = [stream for stream in benchmark.streams.values() if stream.name == "probe"]
    probes = [experience.probe for stream in outside for experience in stream] or list(catalogue_probes())

    backbone = build(config, "backbone")
    base_fingerprint = backbone.fingerprint()
    data = build(config, "data")
    composer, prompt, adapter = build(config, "composer"), build(config, "prompt"), build(config, "adapter")
    with seeded(seed, "initialisation"):
        if adapter is not None:
            adapter.attach(backbone)
        if prompt is not None:
            prompt.attach(backbone)
        retriever = ComposedRetriever(backbone, composer, build(config, "projection"))
    # A prompt takes places of the context, so that texts are counted with it attached.
    cut = _cut_texts(backbone, domains, probes, data.long_texts)
    if "text" not in composer.reads:
        for name, parameter in backbone.named_parameters():
            if "visual" not in name and "image" not in name:
                parameter.requires_grad_(False)
    retriever.to(device).eval()

    store, cache = None, None
    if config["features"] != "off":
        store = _store(os.environ.get("CLPLAT_CACHE"), os.environ.get("CLPLAT_CACHE_LIMIT"))
        dtype = torch.float16 if config["features"] == "fp16" else torch.float32
        retriever.cache = cache = FeatureCache(backbone, store, dtype)
    pixels = _pixels(backbone.image_size, data.preprocess, store)
    augment = Augment(data.augment, data.views, seed) if data.augment != "none" else None
    measure = build(config, "evaluation")
    blind = {"image_only": ImageOnly(), "text_only": TextOnly()}
    evaluator = Evaluator(
        domains,
        probes,
        split=measure.split,
        pictures=pixels.images,
        tokenize=backbone.tokenize,
        composers={"own": retriever.composer, **blind},
        batch_size=measure.batch_size,
    )
    return Assembly(
        scenario=scenario,
        benchmark=benchmark,
        domains=domains,
        probes=probes,
        retriever=retriever,
        adapter=adapter,
        strategy=build(config, "strategy"),
        loss=build(config, "loss"),
        pixels=pixels,
        cache=cache,
        collate=Collate(pixels, backbone.tokenize, augment),
        evaluator=evaluator,
        base_fingerprint=base_fingerprint,
        cut_texts=cut,
    )


def _check_device(device: str) -> None:
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"device '{device}' cannot be used: {reason}") from None


def _cut_texts(backbone: Any, domains: Sequence[Domain], probes: Sequence[Probe], policy: str) -> list[str]:
    """Texts that the tokenizer would cut; refused unless the user declared that they may be."""
    texts = {triplet.text: None for domain in domains for triplet in domain.train}
    for domain in domains:
        texts.update({query.text: None for held in (domain.val, domain.test) for query in held.queries})
    for probe in probes:
        texts.update(dict.fromkeys(probe.texts))
    every = list(texts)
    cut = [every[i] for i in backbone.truncated(every)]
    if cut and policy == "refuse":
        raise UserError(
            f"{len(cut)} texts are longer than the backbone's "
            f"context of {backbone.context_length} tokens, the first: "
            f"'{cut[0][:80]}...'; shorten them or declare it with --data.long_texts cut"
        )
    return cut
