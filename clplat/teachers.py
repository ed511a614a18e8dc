"""Teachers, in one line: ``from clplat.teachers import Previous``."""

# Written by `make check`; do not edit.
from clplat.registry import exports_of

__getattr__, __dir__ = exports_of("teachers")
