"""Weights files as tensors by name: safetensors, and whatever of torch's files is safe to read.

A training checkpoint of open_clip holds its weights beside an optimizer, numbers of numpy and names as
``torch.compile`` and DDP write them. Nothing is unpickled that could run code.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from clplat.errors import UserError
from clplat.files import is_as_written

__all__ = ["read_weights"]

#: Prefixes that wrappers of a model put before, or inside, the names of its tensors.
_WRAPPERS = ("module.", "_orig_mod.")
#: Keys under which training code keeps a model's weights.
_HOLDERS = ("state_dict", "model_state_dict", "model")
#: What a number of numpy is made of, under its names in numpy 1 and 2: no code runs.
_SCALAR: Any = np.float64(0).__reduce__()[0]
_NUMBERS: list[Any] = [
    np.dtype,
    *((_SCALAR, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
    *{type(np.dtype(kind)) for kind in "?bBhHiIlLqQefd"},
]


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a weights file, by the names that the model itself gives them.

    Raises:
        UserError: it is damaged, holds what only code could read, no weights, or numbers that are not finite.
    """
    held = _safetensors(path) if path.suffix == ".safetensors" else _torch(path)
    tensors = {_own_name(name): value for name, value in held.items() if isinstance(value, Tensor)}
    if not tensors:
        there = ", ".join(map(str, list(held)[:8])) or "nothing"
        raise UserError(f"{path} holds no weights by name: there is {there}")
    for name, value in tensors.items():
        # A mask of the text tower, which very old files keep, is infinite where it hides something.
        if value.is_floating_point() and not name.endswith("attn_mask") and not torch.isfinite(value).all():
            raise UserError(f"{path} holds weights that are not finite: {name} has NaN or infinity")
    return tensors


def _own_name(name: str) -> str:
    for wrapper in _WRAPPERS:
        name = name.replace(wrapper, "") if name.startswith(wrapper) or "_orig_mod." in name else name
    return name


def _safetensors(path: Path) -> Mapping[str, Any]:
    try:
        if not is_as_written(path):
            raise UserError(f"{path} is damaged: these are not the bytes that were written")
        found: Mapping[str, Any] = load_file(path)
        return found
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} is damaged or not a safetensors file: {error}") from error


def _torch(path: Path) -> Mapping[str, Any]:
    try:
        with torch.serialization.safe_globals(_NUMBERS):
            found = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(f"{path} {_unsafe(path)}") from error
    except Exception as error:  # a damaged file fails in many ways
        said = " ".join(str(error).split())[:160]
        raise UserError(f"{path} is not a readable weights file: {said}") from error
    for holder in _HOLDERS:
        if isinstance(found, Mapping) and isinstance(found.get(holder), Mapping):
            found = found[holder]
    if not isinstance(found, Mapping):
        raise UserError(f"{path} holds {type(found).__name__}, not weights by name")
    return found


def _unsafe(path: Path) -> str:
    """What is in a file that is not read."""
    try:
        with torch.serialization.safe_globals(_NUMBERS):
            names = sorted(torch.serialization.get_unsafe_globals_in_checkpoint(path))
    except Exception:  # an older or a damaged format
        names = []
    if not names:
        return "is damaged, or in a format that only unpickling reads, which could run its code"
    return (
        f"holds objects beside its weights ({', '.join(names)[:160]}), and reading them would run code: "
        "where you trust it, keep the weights alone, "
        "torch.save(torch.load(FILE, weights_only=False)['state_dict'], NEW)"
    )
