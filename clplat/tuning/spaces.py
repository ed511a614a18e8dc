"""Search spaces as people write them, as Optuna draws from them, and as plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from optuna import distributions

from clplat.config.options import coerce
from clplat.config.resolve import spaces
from clplat.config.resolved import Config
from clplat.config.space import Choice, Float, Int, Space
from clplat.errors import UserError

__all__ = ["contains", "distribution", "extremes", "read_space", "tuned_spaces", "write_space"]


def read_space(key: str, value: Any) -> Space:
    """A search space as it stands in YAML: a list of choices, or ``{low, high}`` with ``log``.

    Whole numbers at both ends make an `Int`.

    Raises:
        UserError: it is neither.

    Example:
        >>> read_space("train.lr", {"low": 1e-5, "high": 1e-2, "log": True})
        Float(low=1e-05, high=0.01, log=True)
        >>> read_space("adapter.r", [4, 8, 16]).values
        (4, 8, 16)
    """
    if isinstance(value, Float | Int | Choice):
        return value
    if isinstance(value, Sequence) and not isinstance(value, str) and value:
        return Choice(*value)
    if not isinstance(value, Mapping) or not {"low", "high"} <= value.keys() <= {"low", "high", "log"}:
        allowed = "[a, b, ...] or {low: a, high: b, log: true}"
        raise UserError(f"the search space of '{key}' is written {allowed}, not {value!r}")
    try:
        low, high = (coerce(int | float, value[end]) for end in ("low", "high"))
        log = coerce(bool, value.get("log", False))
    except ValueError as error:
        raise UserError(f"the search space of '{key}' {error}") from None
    if not low < high or (log and low <= 0):
        raise UserError(f"the search space of '{key}' needs low < high{', low above 0' if log else ''}")
    if isinstance(low, int) and isinstance(high, int):
        return Int(low, high, log)
    return Float(float(low), float(high), log)


def write_space(space: Space) -> Any:
    """The inverse of `read_space`, for JSON and YAML."""
    if isinstance(space, Choice):
        return list(space.values)
    return {"low": space.low, "high": space.high, "log": space.log}


def tuned_spaces(config: Config, tune: Sequence[str], own: Mapping[str, Space]) -> dict[str, Space]:
    """The spaces of a resolved configuration that are searched, by dotted option.

    Args:
        tune: whole slots or single options; what a part does not have is left out.
        own: spaces that replace the annotated ones, or open an option that has none.

    Raises:
        UserError: an option does not take what its space holds.
    """
    available = spaces(config)
    found = {key: available[key] for slot in tune for key in available if f"{key}.".startswith(f"{slot}.")}
    options = {key: argument.type for key, argument, _ in config.options()}
    return found | {key: _typed(key, space, options[key]) for key, space in own.items() if key in options}


def _typed(key: str, space: Space, kind: Any) -> Space:
    """The space with values as its option takes them: ``"1e-3"`` is a number where numbers are taken."""
    try:
        if isinstance(space, Choice):
            return Choice(*(coerce(kind, value) for value in space.values))
        # Between the ends there are fractions, unless whole numbers are drawn.
        for value in (space.low, space.high, 0.5) if isinstance(space, Float) else (space.low, space.high):
            coerce(kind, value)
    except ValueError as error:
        raise UserError(f"the search space of '{key}' {error}") from None
    return space


def extremes(space: Space) -> tuple[Any, ...]:
    """Every choice, or both ends of a range; of real numbers just inside, as an end itself is never drawn.

    Example:
        >>> extremes(Int(1, 4)), extremes(Choice("a", "b"))
        ((1, 4), ('a', 'b'))
    """
    if isinstance(space, Choice):
        return space.values
    inside = 1e-9 * (space.high - space.low) if isinstance(space, Float) else 0
    return space.low + inside, space.high - inside


def contains(space: Space, value: Any) -> bool:
    """Whether a value may be drawn from a space."""
    if isinstance(space, Choice):
        return value in space.values
    return isinstance(value, int | float) and space.low <= value <= space.high


def distribution(space: Space) -> distributions.BaseDistribution:
    """A space as Optuna draws from it."""
    if isinstance(space, Choice):
        return distributions.CategoricalDistribution(space.values)
    if isinstance(space, Int):
        return distributions.IntDistribution(space.low, space.high, space.log)
    return distributions.FloatDistribution(space.low, space.high, space.log)
