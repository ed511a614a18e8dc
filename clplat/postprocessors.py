"""Postprocessors, in one line: ``from clplat.postprocessors import Approximated``."""

# Written by `make check`; do not edit.
from clplat.registry import exports_of

__getattr__, __dir__ = exports_of("postprocessors")
