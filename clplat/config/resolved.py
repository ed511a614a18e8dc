"""A resolved configuration: every name known, every default filled in, every value checked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from clplat.config.annotations import Slot
from clplat.config.fill import filled
from clplat.config.groups import GROUPS, DataConfig, EvaluationConfig, TrainConfig
from clplat.config.make import made
from clplat.config.nested import Part, fields, fields_of, plain, walk
from clplat.config.options import Argument, arguments
from clplat.config.slots import PLAIN
from clplat.kinds import KINDS

__all__ = ["Config", "Part"]


@dataclass(frozen=True)
class Config:
    """The whole identity of an experiment, made once by `clplat.config.resolve.resolve` and handed down.

    Args:
        parts: slot -> part, in the order of `clplat.kinds.KINDS`.
        train: how each experience is trained; data: how pictures and texts are prepared; evaluation: how a
            model version is measured.
        seed: of everything random; device: where the model lives; features: how what is frozen is kept.
    """

    parts: Mapping[str, Part]
    train: TrainConfig
    data: DataConfig
    evaluation: EvaluationConfig
    seed: int
    device: str
    features: str

    def name(self, slot: str) -> str:
        """The name of the part in a slot; ``none`` for an empty one, ``ewc,replay`` for several."""
        return self.parts[slot].name

    @property
    def names(self) -> dict[str, str]:
        """Slot -> name of its part."""
        return {slot: part.name for slot, part in self.parts.items()}

    def make(self, slot: str) -> Any:
        """Make the part of a slot, and the parts inside it; ``None`` for an empty one.

        A part whose argument ``seed`` is None is given the experiment's.

        Raises:
            UserError: the constructor refuses a value.
        """
        return made(Slot.of(KINDS[slot]), self.parts[slot], self.seed, slot)

    def option(self, key: str) -> Any:
        """The value of an option, ``strategy.size``, ``loss.base.temperature``; of a slot its part's name."""
        slot, _, name = key.partition(".")
        if slot in self.parts:
            return self.parts[slot].option(name) if name else self.parts[slot].name
        return getattr(getattr(self, slot), name) if name else getattr(self, slot)

    def options(self) -> Iterator[tuple[str, Argument, Any]]:
        """Every option that these parts have, with what its constructor says of it and its value."""
        for slot, part in self.parts.items():
            yield from walk(fields(Slot.of(KINDS[slot]), part.name), part.options, f"{slot}.")
        for name, group in GROUPS.items():
            yield from walk(fields_of(arguments(group)), asdict(getattr(self, name)), f"{name}.")
        yield from ((name, argument, getattr(self, name)) for name, argument in PLAIN.items())

    def as_dict(self) -> dict[str, Any]:
        """Plain data, as in ``config.yaml`` and ``result.json``; `resolve` reads it again."""
        written = [slot for slot, kind in KINDS.items() if kind.always or self.parts[slot] != _usual(slot)]
        parts = {slot: plain(self.parts[slot]) for slot in written}
        groups = {name: asdict(getattr(self, name)) for name in GROUPS}
        return parts | groups | {name: getattr(self, name) for name in PLAIN}


def _usual(slot: str) -> Part:
    """What fills a slot unless something else is asked for."""
    return filled(Slot.of(KINDS[slot]), KINDS[slot].default, slot)
