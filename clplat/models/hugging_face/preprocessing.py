"""How a folder of transformers wants its pictures, as open_clip says it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from typing_extensions import TypedDict

from clplat.documents.checked import Number, checked
from clplat.errors import UserError
from clplat.files import read_json

__all__ = ["preprocess_cfg"]

_FILE = "preprocessor_config.json"
_BICUBIC = 3  # Pillow's number of it


class _Options(TypedDict, total=False):
    """What the file says, as far as it is read."""

    size: int | dict[str, int | None]
    crop_size: int | dict[str, int | None] | None
    image_mean: list[Number]
    image_std: list[Number]


def preprocess_cfg(folder: Path, usual: Mapping[str, Any], size: int) -> dict[str, Any]:
    """open_clip's configuration of the preprocessing.

    Args:
        folder: with ``preprocessor_config.json``, or without any.
        usual: what transformers takes where it says nothing.
        size: side of the pictures that the image tower takes.

    Raises:
        UserError: a preprocessing that is no resizing to this size, with mean and deviation.
    """
    path = folder / _FILE
    given = read_json(path) if path.is_file() else {"size": size, "crop_size": size}
    held = {**usual, **checked(given, _Options, path, "preprocessing of pictures")}
    mode, side = _resizing(held, "shortest_edge" in usual["size"])
    steps = [held.get(step, True) for step in ("do_resize", "do_rescale", "do_normalize")]
    crop = _side(held["crop_size"]) if mode == "shortest" and held.get("do_center_crop") else side
    if not (all(steps) and side == crop == size and held["resample"] == _BICUBIC):
        raise UserError(
            f"{path} resizes to {held['size']} (resample {held['resample']}), crops {held.get('crop_size')}; "
            f"allowed: to {size}, the size of the image tower, bicubic (3), without a smaller crop, rescaled "
            "and normalised"
        )
    return {
        "size": size,
        "mean": list(held["image_mean"]),
        "std": list(held["image_std"]),
        "interpolation": "bicubic",
        "resize_mode": mode,
    }


def _resizing(held: Mapping[str, Any], shortest: bool) -> tuple[str, int | None]:
    """How a picture becomes a square, and of which side."""
    size = held["size"]
    if isinstance(size, Mapping) and "shortest_edge" in size:
        return "shortest", size["shortest_edge"]
    return "shortest" if shortest and not isinstance(size, Mapping) else "squash", _side(size)


def _side(size: Any) -> int | None:
    if isinstance(size, Mapping):
        return size["height"] if size.get("height") == size.get("width") else None
    return size if isinstance(size, int) else None
