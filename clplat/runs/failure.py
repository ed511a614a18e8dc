"""An exception inside a run as one line that names the part; its traceback goes to disk."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from clplat.config.annotations import Slot
from clplat.config.nested import Part, fields, maker_of
from clplat.config.resolved import Config
from clplat.errors import UserError
from clplat.files import write_text
from clplat.kinds import KINDS
from clplat.training.loss_log import NonFiniteLoss

__all__ = ["ERROR", "PartError", "last_good", "one_line", "recorded"]

ERROR = "error.txt"


class PartError(UserError):
    """What a part or the core raised, in one line.

    Args:
        text: the line.
        part: such as ``"strategy 'ewc'"``; None where no part was at work.
        traceback: of the exception.
    """

    def __init__(self, text: str, part: str | None, traceback: str) -> None:
        super().__init__(text)
        self.part, self.traceback = part, traceback


@contextmanager
def one_line(config: Config, folder: Path, outside: object = None) -> Iterator[None]:
    """Turn whatever the block raises into a `PartError`; an error of the user's is one line already.

    Args:
        config: says which parts there are.
        folder: gets the traceback.
        outside: an object of the caller's; what its methods raise passes unchanged.
    """
    try:
        yield
    except (UserError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
        if any(frame.f_locals.get("self") is outside for frame in frames if outside is not None):
            raise
        part = _part_at_work(config, frames)
        text = "".join(traceback.format_exception(error))
        write_text(folder / ERROR, text)
        said = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}".removesuffix(": ")
        last = traceback.extract_tb(error.__traceback__)[-1]
        at = f"{Path(last.filename).name}, line {last.lineno}, in {last.name}"
        raise PartError(
            f"{f'{part} failed' if part else 'failed'}: {said} ({at}; {folder / ERROR} has it all)",
            part,
            text,
        ) from error


def _part_at_work(config: Config, frames: list[FrameType]) -> str | None:
    """The part whose code is innermost among these frames."""
    known = dict(_modules(config))
    found = [known[module] for frame in frames if (module := frame.f_globals.get("__name__")) in known]
    return found[-1] if found else None


def _modules(config: Config) -> Iterator[tuple[str, str]]:
    """Module -> what the part that it defines is called in a message, of all parts, also inside others."""
    for slot, part in config.parts.items():
        if KINDS[slot].plural:
            yield from _inside(Slot.of(KINDS[slot]), part)


def _inside(slot: Slot, part: Part) -> Iterator[tuple[str, str]]:
    known = fields(slot, part.name)
    together = any(field.member for field in known.values())
    if not together and not (slot.optional and part.name == "none"):
        yield maker_of(slot, part.name).__module__, f"{slot.kind.slot} '{part.name}'"
    for key, field in known.items():
        value: Any = part.options[key]
        if isinstance(value, Part) and field.slot is not None:
            yield from _inside(field.slot, value)


def recorded(error: UserError) -> dict[str, Any]:
    """What the result says of an error, beside where it happened."""
    known = error if isinstance(error, PartError) else None
    return {
        "error": str(error),
        "batch_ids": error.ids if isinstance(error, NonFiniteLoss) else [],
        "part": known and known.part,
        "traceback": known and known.traceback,
    }


def last_good(folder: Path, version: int) -> str | None:
    """The newest version up to this one that is on disk, in the folder of a run."""
    names = [f"versions/{place}.safetensors" for place in range(version, -1, -1)]
    return next((name for name in names if (folder / name).exists()), None)
