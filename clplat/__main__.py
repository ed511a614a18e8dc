"""``python -m clplat`` is the command ``clplat``."""

from __future__ import annotations

import sys

from clplat.extras import MissingLibrary, named_extras

__all__ = ["main"]


def main() -> int:
    """The command, or one line that says which extra it lacks."""
    try:
        with named_extras("the command clplat"):
            from clplat.cli import main as command
    except MissingLibrary as error:
        print(f"clplat: {error}", file=sys.stderr)
        return 2
    return command()


if __name__ == "__main__":
    sys.exit(main())
