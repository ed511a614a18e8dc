"""Streams of domains under a name that nobody else has: ``from clplat.scenarios import DomainFolders``."""

from __future__ import annotations

from clplat.beside import ROOT
from clplat.registry import exports

__path__ = [str(ROOT / "scenarios")]
__getattr__, __dir__ = exports("scenarios")
