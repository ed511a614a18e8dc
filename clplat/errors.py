"""The one exception that a user's mistake raises: a single clear line, shown without a traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["UserError", "nearest", "unknown_name"]

#: Letters of names above which nobody reads them, and how many are said then.
READABLE, FEW = 400, 8


class UserError(Exception):
    """Bad input. The message is one line: what is wrong, where, what is allowed.

    The command line prints it and exits with code 2; Python callers catch it like any exception.
    """


def nearest(name: str, allowed: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the closest allowed name, or an empty string.

    Example:
        >>> nearest("repaly", ["replay", "ewc"])
        "; did you mean 'replay'?"
    """
    if len(name) > 200:  # comparing takes seconds, and nothing that is allowed is near
        return ""
    names = list(allowed)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    alike = [other for other in names if other.lower() == name.lower()] or close
    return f"; did you mean '{alike[0]}'?" if alike else ""


def unknown_name(kind: str, name: str, allowed: Iterable[str]) -> UserError:
    """Build the error for a name that is not one of ``allowed``; of very many it says the most similar ones.

    Example:
        >>> print(unknown_name("strategy", "ewx", ["ewc", "si"]))
        unknown strategy 'ewx'; did you mean 'ewc'? (allowed: ewc, si)
    """
    options = sorted(allowed)
    said = ", ".join(options)
    if len(said) > READABLE:
        close = difflib.get_close_matches(name[:200], options, n=FEW, cutoff=0.0)
        said = f"{len(options)} names, the most similar are {', '.join(close)}"
    return UserError(f"unknown {kind} '{name}'{nearest(name, options)} (allowed: {said})")
