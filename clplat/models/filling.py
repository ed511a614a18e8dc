"""A weights file into an open_clip model strictly; the first tensor that does not fit is named."""

from __future__ import annotations

import logging
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from clplat.errors import UserError
from clplat.models.weight_file import read_weights

__all__ = ["WEIGHTS", "fill", "put", "quiet"]

WEIGHTS = "open_clip_model.safetensors"


def fill(model: Any, weights: Path) -> None:
    """Load ``weights`` strictly; the error names the tensor that does not fit."""
    if weights.suffix in (".npz", ".npy"):  # big_vision's files have other names and shapes
        _load(model, weights, weights)
        return
    held = read_weights(weights)
    own = model.state_dict()
    for key, tensor in own.items():
        shape = tuple(held[key].shape) if key in held else None
        if shape is not None and shape != tuple(tensor.shape) and not key.startswith("logit_"):
            raise UserError(f"{weights} does not fit: {key} is {shape}, the model has {tuple(tensor.shape)}")
    if getattr(model, "logit_bias", None) is None:
        held.pop("logit_bias", None)  # it moves all scores alike, so that nothing here asks for it
    if {name: held[name].shape for name in held} == {name: own[name].shape for name in own}:
        model.load_state_dict(held)  # open_clip would read the file again, to change nothing
        return
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / WEIGHTS
        save_file({name: tensor.contiguous().clone() for name, tensor in held.items()}, plain)
        _load(model, plain, weights)


def put(model: Any, held: Mapping[str, Tensor], where: Path) -> None:
    """Copy tensors under the model's own names into it; the error names the one that does not fit."""
    own = model.state_dict()
    for key in own.keys() | held.keys():
        if key not in held or key not in own:
            raise UserError(f"{where} does not fit: tensor {key} is {'missing' if key in own else 'unknown'}")
        if held[key].shape != own[key].shape:
            there, wanted = tuple(held[key].shape), tuple(own[key].shape)
            raise UserError(f"{where} does not fit: {key} is {there}, the model has {wanted}")
    model.load_state_dict(held)


def _load(model: Any, plain: Path, weights: Path) -> None:
    """Let open_clip load a file, which may be a plain copy of ``weights``."""
    import open_clip

    try:
        with quiet():
            open_clip.load_checkpoint(model, str(plain), strict=True)
    except Exception as error:  # each reader fails on a damaged file in its own way
        said = _reason(str(error)) or f"is not a readable weights file: {' '.join(str(error).split())[:160]}"
        raise UserError(f"{weights} {said}") from error


def _reason(message: str) -> str:
    """The first complaint of `load_state_dict`, in one line."""
    for kind, word in (("Missing key", "lacks"), ("Unexpected key", "holds the unknown")):
        found = re.search(rf'{kind}\(s\) in state_dict: "([^"]+)"(.*)', message)
        if found:
            more = found.group(2).count('"') // 2
            return f"does not fit: it {word} tensor {found.group(1)}{f' and {more} more' if more else ''}"
    found = re.search(r"size mismatch for ([^:]+): .*?(\[[\d, ]*\]).*?(\[[\d, ]*\])", message)
    return (
        f"does not fit: {found.group(1)} is {found.group(2)}, the model has {found.group(3)}" if found else ""
    )


@contextmanager
def quiet() -> Iterator[None]:
    """Keep open_clip from warning of random weights that we fill next, and from adding a log handler."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)
