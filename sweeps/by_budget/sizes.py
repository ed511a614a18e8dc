"""Which size of a part trains as much as a budget allows: its options are tried on the model and counted.

No option is named here. The size of a part is the whole number among its options that changes how much it
trains, a rank before others; where none does, the number of last blocks that it stands in.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, get_args

from clplat.config.raw import merge
from clplat.config.resolve import resolve
from clplat.config.resolved import Config
from clplat.config.slots import options_of
from clplat.config.space import Choice
from clplat.errors import UserError
from clplat.files import read_json, write_json
from clplat.models.backbone import Backbone
from clplat.randomness import seeded
from clplat.retriever import ComposedRetriever
from sweeps.by_budget.search import LARGEST, nearest
from sweeps.ledger.fingerprints import fingerprint
from sweeps.ledger.rates import name_in

__all__ = ["BUDGETS", "NEAR", "Counted", "Point", "scaled"]

#: Shares of all weights of both towers that may be trained.
BUDGETS = (0.01, 0.03, 0.10)
#: How far what is trained may be from a budget, as a factor, to be called equal.
NEAR = 1.5
_FIRST, _LAST = ("r", "rank"), "last"


@dataclass(frozen=True)
class Point:
    """A configuration, and what it trains.

    Args:
        raw: with the size.
        trained: how many numbers.
        option: that sets the size, ``adapter.r``; empty where the part is as it comes.
        value: of the option.
    """

    raw: Mapping[str, Any]
    trained: int
    option: str = ""
    value: int | None = None


class Counted:
    """What configurations train on one backbone.

    Args:
        base: raw configuration that all share.
        kept: file in which points are kept, for the same configuration and code; none unless given.
    """

    def __init__(self, base: Mapping[str, Any], kept: Path | None = None) -> None:
        self._base = {slot: part for slot, part in base.items() if slot != "adapter"}
        self._backbone: Backbone = resolve(self._base).make("backbone")
        self.weights = sum(one.numel() for one in self._backbone.parameters())
        self._kept, self._file = read_json(kept) if kept and kept.exists() else {}, kept

    def trained(self, raw: Mapping[str, Any]) -> int:
        """How many numbers a configuration trains.

        Raises:
            UserError, ValueError: parts refuse the options or the model.
        """
        config = self._config(raw)
        backbone = copy.deepcopy(self._backbone)
        with seeded(0, "sweeps", "sizes"):
            for slot in ("adapter", "prompt"):
                part = config.make(slot)
                if part is not None:
                    part.attach(backbone)
            parts = [config.make(slot) for slot in ("composer", "projection", "head", "scorer")]
            model = ComposedRetriever(backbone, *parts)
        return sum(one.numel() for one in model.parameters() if one.requires_grad)

    def points(self, raw: Mapping[str, Any]) -> dict[float | None, Point]:
        """Budget -> the size nearest to it, of the budgets that a size is near to; else None -> as it comes.

        Raises:
            UserError: it cannot be attached as it comes.
        """
        key = f"{fingerprint(self._config(raw))} {self.weights} {BUDGETS}"
        if key not in self._kept:
            self._kept[key] = [
                [budget, point.option, point.value, point.trained]
                for budget, point in self._searched(raw).items()
            ]
            if self._file is not None:
                write_json(self._file, self._kept)
        return {
            budget: Point(scaled(raw, option, value) if option else raw, trained, option, value)
            for budget, option, value, trained in self._kept[key]
        }

    def _config(self, raw: Mapping[str, Any]) -> Config:
        return resolve(merge(merge(self._base, {"adapter": {"name": "none"}}), raw))

    def _searched(self, raw: Mapping[str, Any]) -> dict[float | None, Point]:
        plain = Point(raw, self.trained(raw))
        best: dict[float | None, Point] = {}
        for option, start, allowed in _sizes(raw):
            found = self._along(raw, option, start, allowed)
            if len(found) > len(best):
                best = found
            if len(best) > 1:
                break
        return best or {None: plain}

    def _along(
        self, raw: Mapping[str, Any], option: str, start: int, allowed: Sequence[int]
    ) -> dict[float | None, Point]:
        """The budgets that this option reaches, from the size ``start`` on."""

        @cache
        def count(size: int) -> int | None:
            if size not in allowed:
                return None
            try:
                return self.trained(scaled(raw, option, size)) or None
            except (UserError, ValueError):  # widths that it does not divide, texts that have no room
                return None

        found: dict[float | None, Point] = {}
        for budget in BUDGETS:
            goal = budget * self.weights
            size = nearest(count, start, goal)
            trained = count(size) if size else None
            if size and trained and abs(math.log(trained / goal)) <= math.log(NEAR):
                found[budget] = Point(scaled(raw, option, size), trained, option, size)
        return found


def scaled(raw: Mapping[str, Any], option: str, size: int) -> dict[str, Any]:
    """A configuration with another size, and its alpha in proportion, so that the scale ``alpha / r`` stays.

    Where the scale is not that ratio (rsLoRA), alpha stays as it is.

    Example:
        >>> scaled({"adapter": {"name": "lora"}}, "adapter.r", 4)["adapter"]
        {'name': 'lora', 'r': 4, 'lora_alpha': 8}
        >>> scaled({"adapter": {"name": "rslora", "r": 32}}, "adapter.r", 4)["adapter"]
        {'name': 'rslora', 'r': 4}
    """
    slot, _, key = option.partition(".")
    options = _options(raw, slot)
    changed: dict[str, Any] = {key: size}
    before = options[key]
    if key in _FIRST and before and not _by_root(name_in(raw, slot)):
        for name, value in options.items():
            if name.endswith("alpha") and isinstance(value, int | float) and not isinstance(value, bool):
                changed[name] = type(value)(max(value * size / before, 1))
    return merge(raw, {slot: changed})


def _by_root(name: str) -> bool:
    from clplat.parts.adapters._methods import METHODS

    return name in METHODS and bool(METHODS[name].fixed.get("use_rslora"))


def _options(raw: Mapping[str, Any], slot: str) -> dict[str, Any]:
    """The options of the part in a slot, with its defaults."""
    given = raw[slot] if isinstance(raw[slot], Mapping) else {"name": raw[slot]}
    known = options_of(slot, name_in(raw, slot)).items()
    return {path.partition(".")[2]: argument.default for path, argument in known} | {
        key: value for key, value in given.items() if key != "name"
    }


def _sizes(raw: Mapping[str, Any]) -> Iterator[tuple[str, int, Sequence[int]]]:
    """Options that may set a size, the size that they have, and all that are allowed.

    Ranks come first, and the number of last blocks comes last.
    """
    found: list[tuple[int, str, int, Sequence[int]]] = []
    for slot in ("adapter", "prompt"):
        name = name_in(raw, slot)
        known = options_of(slot, name) if name not in ("", "none") else {}
        for path, argument in known.items():
            key = path.partition(".")[2]
            value = _options(raw, slot).get(key)
            kinds = (argument.type, *get_args(argument.type))
            marks = [mark for mark in getattr(argument.type, "__metadata__", ()) if isinstance(mark, Choice)]
            allowed = [v for mark in marks for v in mark.values] or range(1, LARGEST + 1)
            if key == _LAST:
                found.append((2, path, 2, allowed))
            elif isinstance(value, int) and not isinstance(value, bool) and value > 0:
                found.append((int(key not in _FIRST), path, value, allowed))
            elif value is None and key in _FIRST and {int, int | None} & {*kinds}:
                found.append((0, path, 8, allowed))
    yield from (one[1:] for one in sorted(found, key=lambda one: one[0]))
