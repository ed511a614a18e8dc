"""A resolved configuration: every name known, every default filled in, every value checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from clplat.config.groups import GROUPS, DataConfig, EvaluationConfig, TrainConfig
from clplat.config.slots import PLAIN, constructor_of, options_of
from clplat.errors import UserError
from clplat.kinds import KINDS


@dataclass(frozen=True)
class Part:
    """What fills a slot: the part's name (``none`` for an empty one) and every option of its constructor."""

    name: str
    options: Mapping[str, Any]


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
        """The name of the part in a slot; ``none`` for an empty one."""
        return self.parts[slot].name

    @property
    def names(self) -> dict[str, str]:
        """Slot -> name of its part."""
        return {slot: part.name for slot, part in self.parts.items()}

    def make(self, slot: str) -> Any:
        """Make the part of a slot; ``None`` for an empty one.

        A part whose argument ``seed`` is None is given the experiment's.

        Raises:
            UserError: the constructor refuses a value.
        """
        name, options = self.parts[slot].name, dict(self.parts[slot].options)
        constructor = constructor_of(slot, name)
        if constructor is None:
            return None
        if "seed" in options and options["seed"] is None:
            options["seed"] = self.seed
        try:
            return constructor(name, **options) if slot == "backbone" else constructor(**options)
        except (ValueError, TypeError) as error:
            raise UserError(f"{slot} '{name}': {error}") from error

    def option(self, key: str) -> Any:
        """The value of a dotted option, ``strategy.size``, ``train.lr``, ``seed``; of a slot its name."""
        slot, _, name = key.partition(".")
        if slot in self.parts:
            return self.parts[slot].options[name] if name else self.parts[slot].name
        return getattr(getattr(self, slot), name) if name else getattr(self, slot)

    def as_dict(self) -> dict[str, Any]:
        """Plain data, as in ``config.yaml`` and ``result.json``; `resolve` reads it again."""
        written = [slot for slot, kind in KINDS.items() if kind.always or self.parts[slot] != _usual(slot)]
        parts = {slot: {"name": self.parts[slot].name, **self.parts[slot].options} for slot in written}
        groups = {name: asdict(getattr(self, name)) for name in GROUPS}
        return parts | groups | {name: getattr(self, name) for name in PLAIN}


def _usual(slot: str) -> Part:
    """What fills a slot unless something else is asked for."""
    name = KINDS[slot].default
    options = options_of(slot, name).items()
    return Part(name, {key.partition(".")[2]: option.default for key, option in options})
