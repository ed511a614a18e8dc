"""Heads, in one line: ``from clplat.heads import Bebr``."""

# Written by `make check`; do not edit.
from clplat.registry import exports_of

__getattr__, __dir__ = exports_of("heads")
