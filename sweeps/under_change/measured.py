"""What is read of a run about composition: domains not yet trained, old indexes, held-out combinations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from clplat.measures import mean_of

__all__ = ["composition"]

_HELD_OUT, _SHOWN = "combination=unseen", "combination=seen"


def composition(result: Mapping[str, Any]) -> dict[str, float | None]:
    """Numbers of the primary metric, percent, as means over domains.

    ``untrained``: all domains before training. ``new``: domains that are not trained yet, mean over the
    versions between; ``new_before``: the same domains before training. ``old_index``: what queries of the
    newest version find in the indexes of all earlier ones, in percent of what they find in their own;
    ``old_index_change``: points above what each index's own version found in it. ``held_out`` and ``shown``:
    queries whose combination of attributes training held out and showed, after the last domain; the same
    ``_before``. ``text_alone``, ``picture_alone``: half of the query, by the same model.
    """
    primary = result["protocol"]["primary"]
    R, C = result["metrics"][primary], result["compatibility"][primary]
    tags = {name: rows.get(primary) for name, rows in result["tags"].items()}
    blind = {name: rows[primary] for name, rows in result["baselines"].items() if rows.get(primary)}
    return {
        "untrained": mean_of(R[0]),
        "new": mean_of(mean_of(R[i][j] for i in range(1, j + 1)) for j in range(1, len(R[0]))),
        "new_before": mean_of(R[0][1:]),
        **_old_index(C),
        "held_out": _at(tags.get(_HELD_OUT), -1),
        "shown": _at(tags.get(_SHOWN), -1),
        "held_out_before": _at(tags.get(_HELD_OUT), 0),
        "shown_before": _at(tags.get(_SHOWN), 0),
        "text_alone": _at(blind.get("text_only"), -1),
        "picture_alone": _at(blind.get("image_only"), -1),
    }


def _old_index(C: Sequence[Sequence[float | None]]) -> dict[str, float | None]:
    last, own = C[-1], C[-1][-1]
    pairs = [(found, C[j][j]) for j, found in enumerate(last[:-1])]
    known = [(found, theirs) for found, theirs in pairs if found is not None and theirs is not None]
    return {
        "old_index": mean_of(100.0 * found / own for found, _ in known) if own else None,
        "old_index_change": mean_of(found - theirs for found, theirs in known),
    }


def _at(rows: Sequence[Sequence[float | None]] | None, row: int) -> float | None:
    return mean_of(rows[row]) if rows else None
