"""Teachers: models whose outputs a student is held to, by name."""

from __future__ import annotations

from clplat.registry import exports

__getattr__, __dir__ = exports(__name__)
