"""Composers, in one line: ``from clplat.composers import Sum``."""

# Written by `make check`; do not edit.
from clplat.registry import exports_of

__getattr__, __dir__ = exports_of("composers")
