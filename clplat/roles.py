"""What a strategy is in a comparison: a method, or a bound that methods are measured against."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from clplat.naming import part

__all__ = ["Role", "role_of"]

Role = Literal["method", "lower bound", "upper bound"]

# Results of before 2026-12 do not say it. `cumulative` trains on everything at once, `frozen` never trains.
_BY_NAME: dict[str, Role] = {"cumulative": "upper bound", "frozen": "lower bound"}


def role_of(entry: Mapping[str, Any]) -> Role:
    """The role of a result's strategy, or of that of a table's row.

    Args:
        entry: its ``strategy_role`` counts; without one, the name of the strategy does, in ``strategy`` or in
            ``config``.

    Example:
        >>> role_of({"strategy": "cumulative"}), role_of({"config": {"strategy": {"name": "ewc"}}})
        ('upper bound', 'method')
    """
    if "strategy_role" in entry:
        role: Role = entry["strategy_role"]
        return role
    name = entry["strategy"] if "strategy" in entry else part(entry["config"], "strategy")
    return _BY_NAME.get(str(name), "method")
