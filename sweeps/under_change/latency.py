"""How long a query takes: the composer alone, and from pixels and words on, of one query and of 32.

One process and one thread; each composer in turn with the plain sum, whose time on the same machine at
the same moment is the unit that carries over to other machines.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from clplat.config.raw import merge
from clplat.config.resolve import resolve
from clplat.data.inputs import Images, Texts
from clplat.errors import UserError
from clplat.retriever import ComposedRetriever
from clplat.runs.assembly import build_retriever, pixel_store
from sweeps.under_change.cells import Cell

__all__ = ["SIZES", "latencies", "ready", "times"]

SIZES = (1, 32)
ROUNDS = 9
_DATA: dict[str, Any] = {
    "name": "catalogue", "domains": 1, "train": 8, "queries": max(SIZES), "gallery": 40
}  # fmt: skip
_SUM: dict[str, Any] = {"composer": {"name": "sum"}}


def latencies(cells: Sequence[Cell], base: Mapping[str, Any] | None = None) -> dict[str, dict[str, Any]]:
    """Composer -> ``parameters`` and ``ms``: batch size -> ``composer``, ``query`` and, in sums, ``ratio``.

    Args:
        cells: of which each composer is measured once, untrained, on frozen towers.
        base: the backbone, if it is not the shipped one.
    """
    plain, found = ready(_SUM, base), {}
    for name, cell in {cell.composer: cell for cell in reversed(cells) if cell.towers == "frozen"}.items():
        wanted = ("composer", "scorer", "data")
        try:
            asked = ready({slot: cell.system.raw[slot] for slot in wanted if slot in cell.system.raw}, base)
        except UserError as error:
            print(f"{name} is not timed: {error}", flush=True)
            continue
        found[name] = {
            "parameters": sum(one.numel() for one in asked[0].composer.parameters()),
            "ms": {str(size): times(asked, plain, size) for size in SIZES},
        }
    return dict(sorted(found.items()))


Ready = tuple[ComposedRetriever, Images, Texts]


def ready(raw: Mapping[str, Any], base: Mapping[str, Any] | None) -> Ready:
    """A model with nothing kept, and as many queries as the largest batch has."""
    given = {"features": "off", "adapter": {"name": "none"}, "scenario": _DATA}
    config = resolve(merge(merge(base or {}, given), raw))
    model, *_ = build_retriever(config)
    domain = config.make("scenario").build()[0][0]
    queries = domain.sets["test"].queries[: max(SIZES)]
    said = [query.text for query in queries]
    pictures = pixel_store(config, model).images([query.reference for query in queries])
    return model, pictures, Texts(model.backbone.tokenize(said), said=said)


@torch.inference_mode()
def times(asked: Ready, plain: Ready, size: int) -> dict[str, float]:
    """Medians in milliseconds, the sum measured between."""
    works = [work for ready in (asked, plain) for work in _works(*ready, size)]
    for work in works:
        work()
    taken: list[list[float]] = [[] for _ in works]
    for _ in range(ROUNDS):
        for work, times in zip(works, taken, strict=True):
            begun = time.perf_counter()
            work()
            times.append(1000.0 * (time.perf_counter() - begun))
    composer, query, _, whole_sum = (statistics.median(times) for times in taken)
    return {
        "composer": round(composer, 3),
        "query": round(query, 3),
        "ratio": round(query / whole_sum, 3),
    }


def _works(
    model: ComposedRetriever, pictures: Images, texts: Texts, size: int
) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """The composer on features that are there, and the whole way from pixels and words to the query."""
    shown, said = pictures.part(range(size)), texts.part(range(size))
    image = model.image_features(shown, model.image_wants)
    text = model.text_features(said, model.text_wants)
    return lambda: model.scorer.query(image, text, model.composer), lambda: model.encode_queries(shown, said)
