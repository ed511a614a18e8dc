"""Transforms, in one line: ``from clplat.transforms import Captioned``."""

# Written by `make check`; do not edit.
from clplat.registry import exports_of

__getattr__, __dir__ = exports_of("transforms")
