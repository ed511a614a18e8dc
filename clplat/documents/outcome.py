"""``sweep.json`` of a sweep: its schema, and how it is read (``docs/sweeps.md``)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from typing_extensions import NotRequired, TypedDict

from clplat.documents.checked import Number, checked
from clplat.errors import UserError
from clplat.files import read_json

__all__ = ["SCHEMA", "Outcome", "read_outcome"]

SCHEMA = 1


class Row(TypedDict):
    """A line of the table."""

    group: str
    method: str
    label: str
    strategy: str
    kind: str
    bound: bool
    params: dict[str, Any]
    settings: dict[str, Any]
    n: int
    score: dict[str, Number | None]
    measures: dict[str, dict[str, Number | None] | None]
    feasible: bool | None
    folders: list[str]
    split: NotRequired[str]


class Trial(TypedDict):
    """One setting that was tried."""

    number: int
    state: str
    values: list[Number] | None
    params: dict[str, Any]
    measures: dict[str, Number | None]
    constraints: dict[str, Number | None]
    why: str | None
    folder: str


class Study(TypedDict):
    """The tuning of one method."""

    group: str
    method: str
    objectives: list[str]
    space: dict[str, Any]
    spent: dict[str, Number | None]
    importances: dict[str, Number]
    best: int | None
    trials: list[Trial]


class Failure(TypedDict):
    """A run that failed."""

    label: str
    folder: str
    why: str


class Outcome(TypedDict):
    """What every reader of an outcome may take for granted; whatever else there is stays as it is."""

    schema: int
    status: Literal["running", "complete"]
    name: str
    scenario: str
    domains: list[str]
    primary: str
    objectives: list[str]
    constraints: dict[str, Number]
    budget: dict[str, Number | None]
    seeds: list[int]
    rows: list[Row]
    comparisons: list[dict[str, Any]]
    sentence: str
    studies: list[Study]
    failures: list[Failure]
    figure: dict[str, Any] | None
    code: list[str]
    versions: dict[str, str]
    question: NotRequired[str]
    command: NotRequired[str]


def read_outcome(out: Path) -> dict[str, Any]:
    """The outcome in the folder of a sweep.

    Raises:
        UserError: it is missing, no JSON, of a schema that this release does not know, or no outcome.
    """
    path = out / "sweep.json"
    content = read_json(path)
    schema = content.get("schema") if isinstance(content, dict) else None
    if schema != SCHEMA:
        raise UserError(f"{path} has schema {schema!r}; this version of clplat reads schema {SCHEMA}")
    found: dict[str, Any] = checked(content, Outcome, path, "outcome of a sweep")
    return found
