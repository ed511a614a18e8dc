"""References: data beside the stream that a strategy may learn from."""

from __future__ import annotations

from clplat.registry import exports

__getattr__, __dir__ = exports(__name__)
