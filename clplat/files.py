"""Files at rest: written to a temporary name and renamed, as safetensors, JSON or YAML; never pickle.

A *tree* is nested dicts, lists and tuples of tensors and plain JSON values. `save_tree` keeps one in a
single safetensors file: the tensors in its body, the shape of the tree as JSON in its header, so that a
checkpoint is one atomic rename.
"""

from __future__ import annotations

import fcntl
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from clplat.errors import UserError

__all__ = [
    "load_tree",
    "locked",
    "read_json",
    "remove_leftovers",
    "save_tree",
    "write_atomically",
    "write_json",
    "write_text",
]

_TEMPORARY = ".clplat-tmp"


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Call ``write`` with a temporary path beside ``path``, flush it to disk, then rename it over ``path``.

    Raises:
        UserError: the disk is full or not writable; what stood at ``path`` before still stands.
    """
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=_TEMPORARY, dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        write(temporary)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except (OSError, SafetensorError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or error
        raise UserError(f"could not write {path}: {reason}; what was there before is untouched") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Wait for a lock on a file, made if need be, and hold it: one process at a time is in the block.

    The kernel takes it back from whoever is killed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def remove_leftovers(folder: Path) -> None:
    """Delete the temporary files of writers that were killed; nobody may be writing in the folder."""
    for path in folder.rglob(f".*{_TEMPORARY}"):
        path.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically: two spaces, sorted keys, a final newline, no NaN (`None` stands for it)."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read JSON; a broken or missing file is a `UserError` that names it."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"no such file: {path}") from None
    except (ValueError, OSError) as error:
        raise UserError(f"{path} is not readable JSON: {error}") from None


def save_tree(path: Path, tree: Any) -> None:
    """Write a tree of tensors and plain values as one safetensors file, atomically.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "state.safetensors"
        >>> save_tree(file, {"weight": torch.ones(2), "steps": [1, 2]})
        >>> load_tree(file)["steps"]
        [1, 2]
    """
    tensors: dict[str, torch.Tensor] = {}

    def strip(node: Any) -> Any:
        if isinstance(node, torch.Tensor):
            key = str(len(tensors))
            tensors[key] = node.detach().to("cpu").contiguous().clone()
            return {"$tensor": key}
        if isinstance(node, dict):
            # Pairs keep the type of the keys: optimizer states are keyed by integers.
            return {"$dict": [[key, strip(value)] for key, value in node.items()]}
        if isinstance(node, tuple):
            return {"$tuple": [strip(value) for value in node]}
        if isinstance(node, list):
            return [strip(value) for value in node]
        if node is None or isinstance(node, bool | int | float | str):
            return node
        raise TypeError(f"a tree holds tensors and plain values, not {type(node).__name__}")

    header = {"tree": json.dumps(strip(tree))}
    # Not by safetensors' `save_file`: its own temporary file would stay behind when the process is killed.
    write_atomically(path, lambda temporary: temporary.write_bytes(save(tensors, metadata=header)))


def load_tree(path: Path) -> Any:
    """Read what `save_tree` wrote.

    Raises:
        UserError: the file is missing, cut short or was not written by `save_tree`.
    """
    try:
        with safe_open(path, framework="pt") as file:
            tree = json.loads((file.metadata() or {})["tree"])

            def fill(node: Any) -> Any:
                if isinstance(node, list):
                    return [fill(value) for value in node]
                if isinstance(node, dict):
                    if "$tensor" in node:
                        return file.get_tensor(node["$tensor"])
                    if "$tuple" in node:
                        return tuple(fill(value) for value in node["$tuple"])
                    return {key: fill(value) for key, value in node["$dict"]}
                return node

            return fill(tree)
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise UserError(f"{path} is not a readable state file: {error}") from error
