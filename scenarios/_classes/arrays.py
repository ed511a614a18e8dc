"""Labelled sets whose pictures lie in one array per split: MNIST, CIFAR."""

from __future__ import annotations

import gzip
import io
import os
import pickle
from collections.abc import Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from clplat.data.items import Picture
from clplat.errors import UserError

from .listing import Listing, Named

__all__ = ["array_picture", "cifar10", "cifar100", "mnist"]

_DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_BATCHES = {"train": tuple(f"data_batch_{i}" for i in range(1, 6)), "test": ("test_batch",)}


def mnist(root: Path) -> Listing:
    """MNIST: ``MNIST/raw``, the files of its own format, packed or not."""
    splits = {}
    for split, start in (("train", "train"), ("test", "t10k")):
        labels = _idx(_there(root / f"MNIST/raw/{start}-labels-idx1-ubyte"))
        name = _there(root / f"MNIST/raw/{start}-images-idx3-ubyte").relative_to(root)
        splits[split] = [(f"{name.as_posix()}#{i}", int(label)) for i, label in enumerate(labels)]
    titles = [f"{i} - {word}" for i, word in enumerate(_DIGITS)]
    return Listing([str(i) for i in range(10)], splits, titles)


def cifar10(root: Path) -> Listing:
    """CIFAR-10: ``cifar-10-batches-py``."""
    classes = _unpickled(root / "cifar-10-batches-py/batches.meta")["label_names"]
    return _cifar(root, "cifar-10-batches-py", _BATCHES, "labels", classes)


def cifar100(root: Path) -> Listing:
    """CIFAR-100: ``cifar-100-python``, its fine labels."""
    classes = _unpickled(root / "cifar-100-python/meta")["fine_label_names"]
    return _cifar(root, "cifar-100-python", {"train": ("train",), "test": ("test",)}, "fine_labels", classes)


def _cifar(
    root: Path, folder: str, files: dict[str, tuple[str, ...]], labels: str, classes: Sequence[str]
) -> Listing:
    splits: dict[str, list[Named]] = {
        split: [
            (f"{folder}/{name}#{i}", int(label))
            for name in names
            for i, label in enumerate(_unpickled(root / folder / name)[labels])
        ]
        for split, names in files.items()
    }
    return Listing(classes, splits)


def array_picture(root: Path, name: str, key: str) -> Picture:
    """One row of an array, ``MNIST/raw/train-images-idx3-ubyte#17``, as a picture."""
    file, _, row = name.rpartition("#")
    path = str(root / file)
    return Picture(key, partial(_row, path, int(row)), stamp=partial(_stamp, path))


def _row(path: str, row: int) -> Image.Image:
    return Image.fromarray(_pixels(path)[row]).convert("RGB")


@lru_cache(maxsize=8)
def _pixels(path: str) -> np.ndarray[Any, Any]:
    """All pictures of a file: (N, H, W) or (N, H, W, 3), uint8."""
    if "-idx3-" in path:
        return _idx(Path(path))
    rows: np.ndarray[Any, Any] = _unpickled(Path(path))["data"]
    return rows.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)


@lru_cache(maxsize=1 << 6)
def _stamp(path: str) -> str:
    stat = os.stat(path)
    return f"{stat.st_size:x}-{stat.st_mtime_ns:x}"


def _there(path: Path) -> Path:
    packed = path.with_name(path.name + ".gz")
    if not path.is_file() and not packed.is_file():
        raise UserError(f"no such file: {path}")
    return path if path.is_file() else packed


def _idx(path: Path) -> np.ndarray[Any, Any]:
    """An array of unsigned bytes in the format of MNIST's own files."""
    content = path.read_bytes()
    content = gzip.decompress(content) if path.suffix == ".gz" else content
    if content[:3] != b"\0\0\x08":
        raise UserError(f"{path} is not in MNIST's format of unsigned bytes")
    shape = np.frombuffer(content, ">u4", content[3], 4)
    body = np.frombuffer(content, np.uint8, offset=4 + 4 * content[3])
    if len(body) != int(np.prod(shape)):
        raise UserError(f"{path} holds {len(body)} of {int(np.prod(shape))} bytes")
    return body.reshape(tuple(int(side) for side in shape))


class _Plain(pickle.Unpickler):
    """Reads what CIFAR's files hold, numbers and names, and refuses all else: a pickle may run any code."""

    def find_class(self, module: str, name: str) -> Any:
        known = {"_reconstruct", "ndarray", "dtype", "scalar"}
        if module.partition(".")[0] == "numpy" and name in known:
            return super().find_class(module, name)
        if (module, name) == ("_codecs", "encode"):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"it wants to run {module}.{name}")


@lru_cache(maxsize=16)
def _unpickled(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise UserError(f"no such file: {path}")
    try:
        found = _Plain(io.BytesIO(path.read_bytes()), encoding="latin1").load()
    except (pickle.UnpicklingError, EOFError, ValueError) as error:
        raise UserError(f"{path} is no file of CIFAR: {error}") from error
    if not isinstance(found, dict):
        raise UserError(f"{path} is no file of CIFAR: it holds a {type(found).__name__}")
    return found
