"""Rows of a batch as earlier releases stored them in memories."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

__all__ = ["is_row", "today"]

_OLD = frozenset({"id", "domain", "reference", "tokens", "candidates", "labels", "picture_kind", "weight"})


def is_row(tree: Any) -> bool:
    """Whether this is an example that `Batch.rows` made, now or in release 0.1.0; no user's own dict."""
    if not isinstance(tree, Mapping):
        return False
    return set(tree) == {"example", "candidate", "item"} or tree.keys() >= _OLD


def today(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """A row of a triplet of release 0.1.0 as one of today; one of today as it is."""
    if "example" in row:
        return row
    pictures = {
        "names": row["names"],
        "pixels": [row["reference"], *row["candidates"]],
        "kind": row["picture_kind"],
    }
    return {
        "example": {
            "ids": [row["id"]],
            "domains": [row["domain"]],
            "weights": {"rows": [torch.tensor(row["weight"])]},
            "groups": [{}],
            "extra": [{}],
        },
        "candidate": {name: row[name] for name in ("labels", "kinds", "scopes")},
        "item": {"pictures": pictures, "texts": {"ids": [row["tokens"], *[None] * len(row["labels"])]}},
    }
