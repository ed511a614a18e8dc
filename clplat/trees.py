"""Trees of tensors in one file each: safetensors, never pickle.

A *tree* is nested dicts, lists and tuples of tensors and plain JSON values. `save_tree` keeps one in a
single safetensors file: the tensors in its body, the shape of the tree as JSON in its header, so that a
checkpoint is one atomic rename.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from clplat.errors import UserError
from clplat.files import write_atomically

__all__ = ["load_tree", "save_tree"]


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
