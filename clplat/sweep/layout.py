"""From the description of a sweep to what is run: a study for each method, and the final runs on test."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

from clplat.config.raw import merge, unflatten
from clplat.config.resolve import resolve, spaces
from clplat.config.resolved import Config
from clplat.config.space import Space
from clplat.errors import UserError, nearest
from clplat.randomness import generator
from clplat.sweep.figure import check_axis
from clplat.sweep.plan import Sweep
from clplat.tuning.spaces import extremes, read_space, tuned_spaces

__all__ = ["Entry", "FinalRun", "Layout", "permuted", "slug"]

#: Bytes of the name of a folder, to which "-tuned-s<seed>-o<order>" is added.
LONGEST = 200


def slug(*words: str) -> str:
    """Labels as one part of a path.

    Example:
        >>> slug("3 domains", "lora r4"), slug("", "replay")
        ('3-domains-lora-r4', 'replay')
    """
    return "-".join(re.sub(r"[^\w.+]+", "-", word).strip("-") for word in words if word)


@dataclass(frozen=True)
class Entry:
    """A method in a group: what is tuned once and measured several times.

    Args:
        raw: its configuration, of base, group and method, before seed and order are put in.
        config: the same, resolved.
        space: option -> what tuning searches; empty where there is nothing to tune.
        control: whether it stands in the table for orientation only.
    """

    group: str
    method: str
    raw: dict[str, Any]
    config: Config
    space: dict[str, Space]
    control: bool

    @property
    def key(self) -> str:
        return slug(self.group, self.method)

    @property
    def default(self) -> dict[str, Any]:
        """The searched options as they are without tuning."""
        return {key: self.config.option(key) for key in self.space}


@dataclass(frozen=True)
class FinalRun:
    """One run on the test split: an entry with default or tuned options, one seed, one stream order."""

    entry: Entry
    kind: str
    params: dict[str, Any]
    seed: int
    order: int

    @property
    def label(self) -> str:
        """As it stands in tables: ``replay (tuned)``."""
        return self.entry.method + (" (tuned)" if self.kind == "tuned" else "")

    @property
    def run_label(self) -> str:
        """This one run of it: ``replay (tuned) s1``, and the group where there are several."""
        return f"{self.label} s{self.seed}" + (f" ({self.entry.group})" if self.entry.group else "")

    @property
    def folder(self) -> str:
        """Its folder in that of the sweep."""
        tuned = "-tuned" if self.kind == "tuned" else ""
        return f"{self.entry.key}{tuned}-s{self.seed}" + (f"-o{self.order}" if self.order else "")


class Layout:
    """All that a sweep runs; every name and value of it is checked when it is made.

    Raises:
        UserError: a wrong name or value in any method, a search that finds nothing, two methods of one name.
    """

    def __init__(self, sweep: Sweep) -> None:
        self.sweep = sweep
        own = {key: read_space(key, value) for key, value in sweep.space.items()}
        methods = sweep.entries()
        methods |= {name: {"strategy": {"name": name}} for name in sweep.controls if name not in methods}
        self.entries: list[Entry] = []
        for group, common in sweep.groups.items():
            for method, raw in methods.items():
                control = method in sweep.controls
                base = unflatten(sweep.base)
                if control:  # options of the strategies that are compared are not for this one
                    base.pop("strategy", None)
                whole = merge(merge(base, common), raw)
                config = resolve(whole)
                space = tuned_spaces(config, sweep.tune, own) if sweep.budget.tunes and not control else {}
                self.entries.append(Entry(str(group), str(method), whole, config, space, control))
        place = list(methods)  # the first are begun first, in all groups
        self.entries.sort(key=lambda entry: place.index(entry.method))
        keys = [entry.key for entry in self.entries]
        for entry in self.entries:
            _check_folder(entry)
        twice = next((key for key in keys if keys.count(key) > 1), None)
        if twice is not None:
            raise UserError(f"two methods of the sweep have the same folder name '{twice}'; rename one")
        if sweep.budget.tunes:
            self._check_tuned(own)
            self._check_values(own)
        check_axis(sweep.figure, [(e.config, e.space) for e in self.entries if not e.control])

    def _check_tuned(self, own: Mapping[str, Space]) -> None:
        contenders = [entry for entry in self.entries if not entry.control]
        for name in (*self.sweep.tune, *own):
            if not any(f"{key}.".startswith(f"{name}.") for e in contenders for key in e.space):
                known = sorted({key for entry in contenders for key in spaces(entry.config)})
                raise UserError(
                    f"'{name}' has no search space in any method of the sweep{nearest(name, known)} "
                    f"(searchable: {', '.join(known)})"
                )

    def _check_values(self, own: Iterable[str]) -> None:
        """Whether parts take what is searched; of several options of a slot only all together can tell."""
        for entry in self.studies:
            slots = [key.partition(".")[0] for key in entry.space]
            for key in entry.space.keys() & set(own):
                for value in extremes(entry.space[key]) if slots.count(key.partition(".")[0]) == 1 else ():
                    try:
                        resolve(merge(entry.raw, {key: value}))
                    except UserError as error:
                        raise UserError(f"the search space of '{key}': {error}") from None

    @property
    def jobs(self) -> int | None:
        """Trials and final runs, at most: tuned ones only where a trial was better. None: nobody knows yet.

        Example:
            >>> from clplat.sweep import Budget, Sweep
            >>> sweep = Sweep(methods=["naive", "replay"], controls=[], seeds=[0, 1], budget=Budget(trials=5))
            >>> Layout(sweep).jobs  # two finals of each as it is, two as tuned, five trials of each
            18
        """
        trials = self.sweep.budget.trials if self.studies else 0
        finals = len(self.sweep.seeds) * (len(self.entries) + len(self.studies))
        return None if trials is None else finals + len(self.studies) * trials

    @property
    def studies(self) -> list[Entry]:
        """The entries that are tuned."""
        return [entry for entry in self.entries if entry.space]

    @cached_property
    def orders(self) -> dict[str, list[list[str] | None]]:
        """Group -> stream orders; None is the scenario's own."""
        return {entry.group: self._orders(entry) for entry in self.entries}

    def _orders(self, entry: Entry) -> list[list[str] | None]:
        wanted = self.sweep.orders
        scenario = entry.config.parts["scenario"].options
        if not isinstance(wanted, int | None):
            for order in wanted:
                if sorted(order) != sorted(wanted[0]):
                    only = ", ".join(sorted({*order} ^ {*wanted[0]}) or order)
                    raise UserError(f"all orders of a sweep name the same domains, once each; not so: {only}")
            return [list(order) for order in wanted]
        if wanted is None:  # one per seed, unless the order is fixed or was chosen
            free = "order" in scenario and scenario["order"] is None
            wanted = len(self.sweep.seeds) if free else 1
        if wanted == 1:
            return [None]
        if "order" not in scenario:
            raise UserError(
                f"scenario '{entry.config.name('scenario')}' has no option 'order'; use --orders 1"
            )
        domains, _ = entry.config.make("scenario").build()
        return permuted([domain.name for domain in domains], wanted)

    def check_orders(self) -> None:
        """Whether every method takes every stream order.

        Raises:
            UserError: one does not, or the data of a scenario cannot be read.
        """
        for entry in self.entries:
            for place in range(len(self.orders[entry.group])):
                self._placed(entry, {}, self.sweep.seeds[0], place)

    def trial_config(self, entry: Entry, params: Mapping[str, Any]) -> Config:
        """The configuration of one trial: the validation split, the first seed, the first order."""
        return self._placed(entry, {**params, "evaluation.split": "val"}, self.sweep.seeds[0], 0)

    def final_config(self, final: FinalRun) -> Config:
        """The configuration of a final run."""
        return self._placed(final.entry, final.params, final.seed, final.order)

    def _placed(self, entry: Entry, params: Mapping[str, Any], seed: int, order: int) -> Config:
        names = self.orders[entry.group][order]
        stream = {} if names is None else {"scenario.order": names}
        return resolve(merge(entry.raw, {**params, **stream, "seed": seed}))

    def finals(self, entry: Entry, kind: str, params: Mapping[str, Any]) -> list[FinalRun]:
        """The replicates of an entry: seed i with order i modulo their number."""
        orders, seeds = len(self.orders[entry.group]), self.sweep.seeds
        return [FinalRun(entry, kind, dict(params), seed, i % orders) for i, seed in enumerate(seeds)]


def _check_folder(entry: Entry) -> None:
    """Whether the labels make a name of folders on every disk, and stay inside that of the sweep."""
    label = entry.method if slug(entry.method) in ("", ".", "..") else entry.group
    if slug(label) in (".", "..") or not entry.key:
        raise UserError(f"'{label}' cannot be the name of a folder; rename the method or group")
    if len(entry.key.encode()) > LONGEST:
        raise UserError(
            f"'{entry.key[:40]}...' is too long for the name of a folder; rename the method or group"
        )


def permuted(names: Sequence[str], count: int) -> list[list[str] | None]:
    """``count`` orders: the given one (None), then permutations that depend on nothing but their place.

    Example:
        >>> permuted(["a", "b", "c"], 3)
        [None, ['a', 'c', 'b'], ['b', 'a', 'c']]
    """
    found = [list(names)]
    draw = 0
    while len(found) < count:
        draw += 1
        order = [names[i] for i in torch.randperm(len(names), generator=generator(draw, "stream order"))]
        if order not in found or draw > 100:  # a stream of two domains has no three orders
            found.append(order)
    return [None, *found[1:]]
