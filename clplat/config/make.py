"""Objects from a checked configuration: a part is made after what is inside it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from clplat import registry
from clplat.config.annotations import Slot
from clplat.config.nested import Field, Part, fields, maker_of
from clplat.errors import UserError

__all__ = ["made"]


def made(slot: Slot, part: Part, seed: int, where: str) -> Any:
    """The object; ``None`` for an empty slot, a list where several are handed on as one.

    A part whose argument ``seed`` is None is given the experiment's.

    Raises:
        UserError: a constructor refuses a value.
    """
    if slot.optional and part.name == "none":
        return None
    known = fields(slot, part.name)
    options = {key: _inside(field, part.options[key], seed, f"{where}.{key}") for key, field in known.items()}
    together = [options.pop(key) for key, field in known.items() if field.member]
    if slot.listed:
        return together or [_called(maker_of(slot, part.name), options, seed, where, part.name)]
    if together:
        return _called(partial(registry.joiner(slot.kind), together), options, seed, where, part.name)
    maker = maker_of(slot, part.name)
    return _called(maker if slot.kind.plural else partial(maker, part.name), options, seed, where, part.name)


def _inside(field: Field, value: Any, seed: int, where: str) -> Any:
    if field.group is not None:
        inner = field.inside("").items()
        options = {key: _inside(each, value.options[key], seed, f"{where}.{key}") for key, each in inner}
        return _called(field.group, options, seed, where, "")
    if isinstance(value, Part):
        assert field.slot is not None
        return made(field.slot, value, seed, where)
    return value


def _called(maker: Callable[..., Any], options: dict[str, Any], seed: int, where: str, name: str) -> Any:
    if "seed" in options and options["seed"] is None:
        options["seed"] = seed
    try:
        return maker(**options)
    except (ValueError, TypeError, ArithmeticError, LookupError, RuntimeError) as error:
        raise UserError(f"{where} '{name}': {error}" if name else f"{where}: {error}") from error
