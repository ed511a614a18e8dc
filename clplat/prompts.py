"""Prompts, in one line: ``from clplat.prompts import AdaptiveTokens``."""

# Written by `make check`; do not edit.
from clplat.registry import exports_of

__getattr__, __dir__ = exports_of("prompts")
