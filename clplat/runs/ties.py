"""A table whose ranks come from the order of the gallery, not from a model, says so."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clplat.events import Listener

__all__ = ["note_ties"]

#: The share of candidates, mean over a domain's queries, that may score exactly as the right answer.
MOST = 0.5


def note_ties(result: Mapping[str, Any], listener: Listener) -> None:
    """Warn once, of the untrained model, where most candidates score as the right answer does.

    Example:
        >>> class Said(Listener):
        ...     def note(self, text: str) -> None:
        ...         print(text)
        >>> sizes = {"galleries": {"bags": 20}, "queries": {"bags": 10}}
        >>> note_ties({"domains": ["bags"], "ties": [[190]], "protocol": sizes}, Said())
        most candidates of domain 'bags' score exactly as the right answer: ranks are ...
    """
    if len(result["ties"]) != 1:
        return
    sizes = result["protocol"]
    for name, ties in zip(result["domains"], result["ties"][0], strict=True):
        candidates = sizes["galleries"].get(name, 0) * sizes["queries"].get(name, 0)
        if ties is not None and candidates and ties > MOST * candidates:
            listener.note(
                f"most candidates of domain '{name}' score exactly as the right answer: ranks are the order "
                "of the gallery; are the backbone's weights trained?"
            )
            return
