"""For mkdocstrings: our docstrings head an example with ``Example:``, its parser knows ``Examples:``."""

from __future__ import annotations

import re
from typing import Any

import griffe

__all__ = ["Headings"]


class Headings(griffe.Extension):
    """Renames the heading as an object is read."""

    def on_object(self, *, obj: griffe.Object, **given: Any) -> None:
        """Called by griffe for every module, class, function and attribute."""
        if obj.docstring is not None:
            obj.docstring.value = re.sub(r"^Example:$", "Examples:", obj.docstring.value, flags=re.MULTILINE)
