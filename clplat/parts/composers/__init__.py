"""Composers: reference features and text features in, a query embedding out."""

from __future__ import annotations

from clplat.registry import exports

__getattr__, __dir__ = exports(__name__)
