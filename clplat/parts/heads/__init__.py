"""Heads: embeddings in, what is stored and compared out."""

from __future__ import annotations

from clplat.registry import exports

__getattr__, __dir__ = exports(__name__)
