"""Trees of tensors in one file each: safetensors, never pickle.

A *tree* is nested dicts, lists and tuples of tensors and plain JSON values. `save_tree` keeps one in a
single safetensors file: the tensors in its body, the shape of the tree as JSON in its header, so that a
checkpoint is one atomic rename. Each has a checksum (`clplat.files`), which is compared whenever it is read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from clplat.errors import UserError
from clplat.files import CHECKSUM, is_as_written, write_checked

__all__ = ["load_tree", "save_tensors", "save_tree"]


def save_tensors(path: Path, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str]) -> None:
    """Write a safetensors file with a checksum, atomically, the same bytes for the same content.

    Raises:
        UserError: the disk is full or not writable.
    """
    content = save(dict(tensors))  # safetensors' own order of metadata is drawn at random
    end = 8 + int.from_bytes(content[:8], "little")
    about = json.dumps({"crc32": CHECKSUM, **metadata}, ensure_ascii=False, separators=(",", ":"))
    entries = content[9:end].rstrip()
    header = b'{"__metadata__":%s%s%s' % (about.encode(), b"," if entries != b"}" else b"", entries)
    header += b" " * (-len(header) % 8)  # tensors begin at multiples of eight bytes
    write_checked(path, len(header).to_bytes(8, "little") + header, memoryview(content)[end:])


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

    text = json.dumps(strip(tree))
    save_tensors(path, tensors, {"tree": text})


def load_tree(path: Path) -> Any:
    """Read what `save_tree` wrote.

    Raises:
        UserError: the file is missing, cut short, damaged or was not written by `save_tree`.
    """
    try:
        if not is_as_written(path):
            raise ValueError("damaged, these are not the bytes that were written")
        with safe_open(path, framework="pt") as file:
            tree = json.loads((file.metadata() or {})["tree"])

            def fill(node: Any) -> Any:
                if isinstance(node, list):
                    return [fill(value) for value in node]
                if isinstance(node, dict):
                    if "$tensor" in node:
                        # A copy of its own: where a tensor lies in a file decides in which order sums over it
                        # are added, and so the last bits of a run that goes on from it.
                        return file.get_tensor(node["$tensor"]).clone()
                    if "$tuple" in node:
                        return tuple(fill(value) for value in node["$tuple"])
                    return {key: fill(value) for key, value in node["$dict"]}
                return node

            return fill(tree)
    except (OSError, SafetensorError, LookupError, ValueError, TypeError, RecursionError) as error:
        raise UserError(f"{path} is not a readable state file: {error}") from error
