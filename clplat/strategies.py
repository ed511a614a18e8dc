"""Continual-learning methods under a name that nobody else has: ``from clplat.strategies import EWC``."""

from __future__ import annotations

from clplat.beside import ROOT
from clplat.registry import exports

__path__ = [str(ROOT / "strategies")]
__getattr__, __dir__ = exports("strategies")
