"""What a strategy is in a comparison: a method, or a bound that methods are measured against."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from clplat import registry
from clplat.naming import part

__all__ = ["Role", "role_of"]

Role = Literal["method", "lower bound", "upper bound"]


def role_of(entry: Mapping[str, Any]) -> Role:
    """The role of a result's strategy, or of that of a table's row: the class attribute ``role``.

    Args:
        entry: names its strategy, in ``strategy`` or in ``config``.

    Example:
        >>> role_of({"strategy": "cumulative"}), role_of({"config": {"strategy": {"name": "ewc"}}})
        ('upper bound', 'method')
    """
    name = entry["strategy"] if "strategy" in entry else part(entry["config"], "strategy")
    roles: set[Role] = {registry.tag("strategies", one, "role", "method") for one in str(name).split(",")}
    return roles.pop() if len(roles) == 1 else "method"
