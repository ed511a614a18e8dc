"""The description of a sweep: one typed object, whether it comes from YAML, a Python script or flags."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from math import inf
from pathlib import Path
from typing import Any, get_type_hints

from clplat.config.options import coerce
from clplat.config.raw import unflatten
from clplat.config.reading import read_yaml
from clplat.errors import UserError, unknown_name
from clplat.measures import find_measure
from clplat.sweep.shapes import check_shapes
from clplat.tuning.samplers import PRUNERS, SAMPLERS
from clplat.tuning.spaces import read_space, write_space

__all__ = ["DEFAULT_STRATEGIES", "Budget", "Sweep", "plain", "read_sweep"]

# The longest first: the last job to begin should not be the one that all workers wait for.
DEFAULT_STRATEGIES = ("cumulative", "replay", "distill", "ewc", "naive", "patch", "frozen")


@dataclass(frozen=True)
class Budget:
    """What every method may spend on tuning; the first limit that is reached ends it, none means no tuning.

    A trial that is running when a limit is reached still ends, so that seconds and TFLOPs are overshot by
    less than a trial; what was spent in fact is in the outcome.

    Args:
        trials: settings tried, the default one included; pruned and failed ones count.
        seconds: of training and measuring, summed over a method's trials.
        tflops: 10^12 floating-point operations of training, summed over a method's trials.
    """

    trials: int | None = None
    seconds: float | None = None
    tflops: float | None = None

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if value is not None and not 0 < value < inf:
                raise UserError(f"the budget's {name} must be above 0 and finite, not {value}")

    @property
    def tunes(self) -> bool:
        return any(value is not None for value in asdict(self).values())


@dataclass(frozen=True)
class Sweep:
    """What is compared and how; the defaults make an honest comparison.

    Every method is tuned by a study of its own, all with the same budget, on the validation split. Then the
    best setting and the default one are measured on the test split, once with each seed, beside the controls.

    Args:
        name: a few words.
        question: a paragraph for the report: what shall be found out.
        base: raw configuration that all runs share.
        methods: strategies by name (``"ewc+replay"`` for both together) or as
            ``{"name": "replay", "size": 50}``; or label -> raw configuration, to compare anything else.
        groups: label -> raw configuration. Every method runs in every group, and only runs of one group are
            compared with each other (streams of different length, say). One nameless group by default.
        controls: strategies that are always in the table, with the options of ``base``, and are not tuned.
        tune: slots or options whose annotated spaces are searched.
        space: option -> search space, over the annotated one or where there is none.
        seeds: one replicate each.
        orders: how many stream orders, replicate i in order i modulo their number, the first being the
            scenario's own; or the orders themselves. One per seed unless given.
        budget: of tuning.
        objectives: what tuning maximises or minimises, names of `clplat.measures`. With several, the front is
            kept and its member with the best ``final`` is measured on test.
        constraints: measure -> limit: the most it may be, or the least where higher is better.
        sampler: name of `clplat.tuning.samplers`, or a dotted path.
        pruner: ``halving`` or ``none``; several objectives are never pruned.
        figure: what is drawn at the end, see ``clplat.report.draw``.

    Raises:
        UserError: a value that cannot be; methods are checked when the sweep is laid out.

    Example:
        >>> sweep = Sweep(methods=["naive", {"name": "replay", "size": 50}], budget=Budget(trials=5))
        >>> list(sweep.entries())
        ['naive', 'replay']
    """

    name: str = "sweep"
    question: str = ""
    base: Mapping[str, Any] = field(default_factory=dict)
    methods: Sequence[str | Mapping[str, Any]] | Mapping[str, Mapping[str, Any]] = DEFAULT_STRATEGIES
    groups: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: {"": {}})
    controls: Sequence[str] = ("frozen", "cumulative")
    tune: Sequence[str] = ("strategy", "train.lr")
    space: Mapping[str, Any] = field(default_factory=dict)
    seeds: Sequence[int] = (0, 1, 2)
    orders: int | Sequence[Sequence[str]] | None = None
    budget: Budget = Budget()
    objectives: Sequence[str] = ("final",)
    constraints: Mapping[str, float] = field(default_factory=dict)
    sampler: str = "tpe"
    pruner: str = "halving"
    figure: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        check_shapes(vars(self))
        for name in ("methods", "seeds", "objectives", "groups"):
            if not getattr(self, name):
                raise UserError(f"a sweep needs at least one entry in '{name}'")
        for name in ("seeds", "objectives", "controls"):
            values = list(getattr(self, name))
            twice = [value for value in values if values.count(value) > 1]
            if twice:
                raise UserError(f"'{name}' of a sweep names '{twice[0]}' more than once")
        for name in (*self.objectives, *self.constraints):
            find_measure(name)
        if self.sampler not in SAMPLERS and ":" not in self.sampler:
            raise unknown_name("sampler", self.sampler, SAMPLERS)
        if self.pruner not in PRUNERS:
            raise unknown_name("pruner", self.pruner, PRUNERS)
        if isinstance(self.orders, int) and not 1 <= self.orders <= len(self.seeds):
            raise UserError(f"orders must be 1 to {len(self.seeds)}, the number of seeds, not {self.orders}")
        for key, value in self.space.items():
            read_space(key, value)

    def entries(self) -> dict[str, Mapping[str, Any]]:
        """Label -> raw configuration of every method; strategies that occur twice are numbered."""
        if isinstance(self.methods, Mapping):
            return dict(self.methods)
        given = [
            {"name": entry.replace("+", ",")} if isinstance(entry, str) else dict(entry)
            for entry in self.methods
        ]
        names = [str(entry["name"]).replace(",", "+") for entry in given]
        labels = [n if names.count(n) == 1 else f"{n}-{names[: i + 1].count(n)}" for i, n in enumerate(names)]
        return {label: {"strategy": entry} for label, entry in zip(labels, given, strict=True)}

    def as_dict(self) -> dict[str, Any]:
        """Plain data, for `read_sweep` and for the outcome."""
        space = {key: write_space(read_space(key, value)) for key, value in self.space.items()}
        written: dict[str, Any] = plain(asdict(self) | {"space": space})
        return written

    def excess(self, values: Mapping[str, float | None]) -> dict[str, float]:
        """Constraint -> how far a value is beyond its limit: 0 or less meets it, undefined never does."""
        found = {}
        for name, limit in self.constraints.items():
            value = values.get(name)
            if value is None:  # a finite number, because samplers compute with it
                found[name] = abs(limit) + 1.0
            else:
                found[name] = value - limit if find_measure(name).better == "lower" else limit - value
        return found


def read_sweep(source: Path | Mapping[str, Any], over: Sweep | None = None) -> Sweep:
    """A sweep from a YAML file or a mapping with the arguments of `Sweep` as keys.

    Args:
        over: what the keys that are not given keep; the defaults unless given.

    Raises:
        UserError: no YAML mapping, an unknown key, a value of the wrong kind.

    Example:
        >>> read_sweep({"methods": ["naive", "ewc"], "budget": {"trials": 5}}).budget.trials
        5
    """
    where, given = "the sweep", source
    if isinstance(source, Path):
        where = str(source)
        given = read_yaml(source, "the sweep") or {}
    if not isinstance(given, Mapping):
        raise UserError(f"{where} is {type(given).__name__}, not a mapping with keys such as methods, seeds")
    kinds = get_type_hints(Sweep) | {"constraints": dict[str, float]}
    values: dict[str, Any] = {}
    for key, value in given.items():
        key = "tune" if key == "search" else key  # its older name
        if key not in kinds:
            raise unknown_name("key of a sweep", str(key), kinds)
        if key == "budget":
            values[key] = _budget(value)
        elif key in ("base", "groups", "space") and value is None:
            continue  # a key with nothing below it
        elif key in ("base", "methods", "groups", "space", "figure"):
            values[key] = value
        else:
            values[key] = _checked(f"'{key}' in {where}", kinds[key], value)
    try:
        made = replace(over or Sweep(), **values)
        if isinstance(source, Path):  # where nobody means to lay one value over another
            for raw in (made.base, *made.groups.values(), *dict(made.entries()).values()):
                unflatten(raw, once=True)
        return made
    except UserError as error:
        raise UserError(f"{where}: {error}" if isinstance(source, Path) else str(error)) from None


def _budget(given: Any) -> Budget:
    kinds = get_type_hints(Budget)
    if isinstance(given, Budget):
        return given
    if not isinstance(given, Mapping):
        raise UserError(f"a budget is written {{trials: 20}}, with any of {', '.join(kinds)}; not {given!r}")
    for key in given:
        if key not in kinds:
            raise unknown_name("budget", str(key), kinds)
    return Budget(**{key: _checked(f"the budget's {key}", kinds[key], given[key]) for key in given})


def _checked(what: str, kind: Any, value: Any) -> Any:
    try:
        return coerce(kind, value)
    except ValueError as error:
        raise UserError(f"{what} {error}") from None


def plain(value: Any) -> Any:
    """Dicts and lists for all mappings and sequences, as JSON gives them back."""
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    return [plain(entry) for entry in value] if isinstance(value, list | tuple) else value
