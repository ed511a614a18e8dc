"""Post-processors: what is done with rankings after the model has ranked."""

from __future__ import annotations

from clplat.registry import exports

__getattr__, __dir__ = exports(__name__)
