"""Continual-learning methods, one per file, in families: ``from strategies import EWC``."""

from __future__ import annotations

from clplat.beside import share
from clplat.registry import exports

share()
__getattr__, __dir__ = exports(__name__)
