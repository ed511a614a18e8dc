"""Samplers: which examples make a batch."""

from __future__ import annotations

from clplat.registry import exports

__getattr__, __dir__ = exports(__name__)
