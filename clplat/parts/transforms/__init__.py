"""Transforms: an example of the stream -> the example that is trained on."""

from __future__ import annotations

from clplat.registry import exports

__getattr__, __dir__ = exports(__name__)
