"""Post-processors behind a stream: which are run, and what is read of a run about what processing brings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from clplat.config.recipes import Recipe, recipes
from clplat.measures import mean_of
from sweeps.ledger.rates import kind_of, name_in
from sweeps.ledger.systems import System, extra_inputs

__all__ = ["MODELS", "processing", "processors"]

#: Behind which model: as it came, or plainly trained on the stream.
MODELS = ("frozen", "naive")


@cache
def processors() -> tuple[System, ...]:
    """A system for each recipe that only works on a finished model, and for each of `MODELS`.

    Example:
        >>> [one.name for one in processors() if one.name.startswith("invgc,")]
        ['invgc, frozen', 'invgc, naive']
    """
    return tuple(_system(one, model) for one in recipes() if _only_after(one) for model in MODELS)


def _only_after(one: Recipe) -> bool:
    plain = name_in(one.config, "strategy") in ("", *MODELS)
    return plain and name_in(one.config, "postprocessor") not in ("", "none")


def _system(one: Recipe, model: str) -> System:
    kept = {slot: part for slot, part in one.config.items() if slot not in ("strategy", "adapter")}
    towers = {"adapter": {"name": "none"}} if model == "frozen" else {}
    raw = {**kept, **towers, "strategy": {"name": model}}
    return System(
        f"{one.name}, {model}", "recipe", raw, "", one.family, tuple(extra_inputs(raw)), (), kind_of(raw)
    )


def processing(result: Mapping[str, Any]) -> dict[str, float | None]:
    """Numbers of the primary metric after a post-processor, as means over domains.

    ``gain``: points above the bare ranking by the newest version; ``gain_before``: by the untrained model;
    ``gain_old``: of its queries in the indexes of all earlier versions, where embeddings are mapped.
    ``hubness`` and ``hubness_after``: skewness of how often an item is among ten answers. ``ceiling``: share
    of queries with a right answer on the shortlist, percent; ``calls``, ``ms``: of the scorer, and
    milliseconds, a query.
    """
    primary, split = result["protocol"]["primary"], result["protocol"].get("split", "test")
    sets = [result["sets"].get(f"{split}/{what}") for what in ("processed", "reranked")]
    held: Mapping[str, Any] = next((one for one in sets if one is not None), {})
    gain, cost = held.get("gain", {}).get(primary), held.get("cost", {})
    hubness = held.get("crowding", {}).get("hubness", [None, None])
    return {
        "gain": mean_of(gain[-1]) if gain else None,
        "gain_before": mean_of(gain[0]) if gain else None,
        "gain_old": _old(held.get("compatibility", {}).get(primary), result["compatibility"][primary]),
        "hubness": hubness[0],
        "hubness_after": hubness[1],
        "ceiling": cost.get("ceiling"),
        "calls": cost["pairs"] / cost["queries"] if cost.get("queries") else None,
        "ms": result["measured"].get("rerank_ms_per_query"),
    }


def _old(
    after: Sequence[Sequence[float | None]] | None, before: Sequence[Sequence[float | None]]
) -> float | None:
    """Points that the newest queries gain in earlier indexes."""
    if not after:
        return None
    pairs = zip(after[-1][:-1], before[-1], strict=False)
    return mean_of(None if a is None or b is None else a - b for a, b in pairs)
