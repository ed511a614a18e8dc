"""Adapters, in one line: ``from clplat.adapters import Full``."""

# Written by `make check`; do not edit.
from clplat.registry import exports_of

__getattr__, __dir__ = exports_of("adapters")
