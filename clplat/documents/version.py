"""``versions/<i>.safetensors`` of a run, a finished version of its model: its schema, and how it is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor
from typing_extensions import TypedDict

from clplat.documents.checked import checked
from clplat.trees import load_tree

__all__ = ["Version", "read_version"]


class Version(TypedDict):
    """The weights that training moved, and what a growing strategy needs to rebuild the model around them."""

    __pydantic_config__ = {"arbitrary_types_allowed": True}  # type: ignore[misc]  # noqa: RUF012

    weights: dict[str, Tensor]
    strategy: dict[str, Any] | None


def read_version(path: Path) -> Version:
    """The version in a file.

    Raises:
        UserError: it is missing, damaged, or no version.
    """
    found: Version = checked(load_tree(path), Version, path, "version of a model")
    return found
