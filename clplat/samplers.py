"""Samplers, in one line: ``from clplat.samplers import ByDomain``."""

# Written by `make check`; do not edit.
from clplat.registry import exports_of

__getattr__, __dir__ = exports_of("samplers")
