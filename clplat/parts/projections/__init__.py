"""Projections: embeddings of one model version in, those of another out."""

from __future__ import annotations

from clplat.registry import exports

__getattr__, __dir__ = exports(__name__)
