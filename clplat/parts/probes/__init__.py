"""Probes: what is measured of every model version beside retrieval on the stream."""

from __future__ import annotations

from clplat.registry import exports

__getattr__, __dir__ = exports(__name__)
