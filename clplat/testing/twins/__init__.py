"""Twins of benchmarks: small drawn folders in exactly the official layout, so that readers run offline."""

from __future__ import annotations

from clplat.testing.twins.classification import classification
from clplat.testing.twins.triplets import FORMS, triplets

__all__ = ["FORMS", "classification", "triplets"]
