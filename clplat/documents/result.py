"""``result.json`` of a run: its schema, and how it is read (``docs/result.md``)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias

from typing_extensions import NotRequired, TypedDict

from clplat.documents.checked import Number, checked
from clplat.errors import UserError
from clplat.files import read_json

__all__ = ["SCHEMAS", "Result", "checked_result", "read_result"]

#: Those that this release reads.
SCHEMAS = (1, 2)

#: One row per model version: null where it has no number.
Column: TypeAlias = list[Number | None]
Matrix: TypeAlias = list[list[Number | None] | None]
Matrices: TypeAlias = dict[str, Matrix]


class Protocol(TypedDict):
    """How the numbers were made, as far as other code reads it."""

    primary: str
    ks: list[int]
    name: str
    split: NotRequired[str]
    galleries: NotRequired[dict[str, int]]


class Fingerprints(TypedDict):
    """What the numbers are of."""

    data: str
    weights: str
    code: str
    queries: NotRequired[str]
    texts: NotRequired[str]


class Measured(TypedDict):
    """What a clock said."""

    train_seconds: Number
    evaluation_seconds: Number


class Result(TypedDict):
    """What every reader of a result may take for granted; whatever else there is stays as it is."""

    schema: int
    status: Literal["running", "complete", "failed", "pruned"]
    name: str
    config: dict[str, Any]
    domains: list[str]
    protocol: Protocol
    metrics: Matrices
    scores: list[dict[str, Number | None]]
    fingerprints: Fingerprints
    measured: Measured
    cost: dict[str, Number | None]
    training: dict[str, Column]
    command: NotRequired[str]
    tags: NotRequired[dict[str, Matrices]]
    baselines: NotRequired[dict[str, Matrices]]
    ties: NotRequired[list[list[int | None] | int | None]]
    probes: NotRequired[dict[str, dict[str, Column]]]
    probes_about: NotRequired[dict[str, dict[str, str | None]]]
    compatibility: NotRequired[Matrices]
    sets: NotRequired[dict[str, dict[str, Any]]]
    views: NotRequired[dict[str, dict[str, Any]]]
    numbers: NotRequired[dict[str, Column]]
    failure: NotRequired[dict[str, Any] | None]
    versions: NotRequired[dict[str, str]]


def read_result(path: Path) -> dict[str, Any]:
    """The result in a file.

    Raises:
        UserError: it is missing, no JSON, of a schema that this release does not know, or no result.
    """
    return checked_result(read_json(path), path)


def checked_result(content: Any, path: Path) -> dict[str, Any]:
    """The same, of a result that something else holds: the file at ``path``."""
    schema = content.get("schema") if isinstance(content, dict) else None
    if type(schema) is int and schema not in SCHEMAS:
        known = " and ".join(map(str, SCHEMAS))
        raise UserError(f"{path} has schema {schema}; this version of clplat reads {known}")
    result: dict[str, Any] = checked(content, Result, path, "result of a run")
    if wrong := next(_torn(result), ""):
        raise UserError(f"{path} is no result of a run: {wrong}")
    return result


def _torn(result: Mapping[str, Any]) -> Iterator[str]:
    """Where the parts of a result contradict each other."""
    domains, rows = len(result["domains"]), len(result["scores"])
    primary = result["protocol"]["primary"]
    if result["metrics"] and primary not in result["metrics"]:
        yield f"'metrics' has no '{primary}', the primary metric"
    if rows > domains + 1 or (result["status"] == "complete" and rows != domains + 1):
        yield f"'scores' has {rows} rows for {domains} domains"
    for name, matrix in result["metrics"].items():
        if len(matrix) > rows:
            yield f"'metrics.{name}' has {len(matrix)} rows, 'scores' {rows}"
        if any(row is not None and len(row) != domains for row in matrix):
            yield f"'metrics.{name}' has a row that is not as long as 'domains'"
