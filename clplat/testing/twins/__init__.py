"""Twins of benchmarks: small drawn folders in exactly the official layout, so that readers run offline."""

from __future__ import annotations

from clplat.testing.twins.attributes import attributes
from clplat.testing.twins.classification import classification

__all__ = ["attributes", "classification"]
