"""Where a pretrained model lies when nobody says where: in the cache, under the name of what made it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from clplat.cache.store import Store
from clplat.data.records import Picture
from clplat.errors import UserError

from .presets import Preset

__all__ = ["folder_of"]

#: Goes up with every change of the training that changes its weights.
_VERSION = 1


def folder_of(
    source: str, pictures: Sequence[Picture], chosen: Preset, weight_decay: float, seed: int
) -> Path:
    """``<cache>/pretrained/<source>-<digest>``: of captions, settings, seed and the way of training.

    Raises:
        UserError: nothing is kept on disk.
    """
    store = Store.default()
    if store.folder is None:
        raise UserError(store.problem or "nothing is kept on disk: say where the model goes with --out")
    digest = hashlib.sha256(json.dumps([_VERSION, asdict(chosen), weight_decay, seed]).encode())
    for picture in pictures:
        digest.update(json.dumps([picture.key, picture.caption]).encode())
    return store.folder / "pretrained" / f"{Path(source).stem}-{digest.hexdigest()[:12]}"
