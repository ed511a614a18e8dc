"""Parts named by where they are written, ``module:Class``: who may name one, and whether it is a part at all.

Importing a module runs its code, and so does calling what it holds. Who types a dotted name, or hands over a
file with one, has it imported, and it is called only after it is shown to be a part of its kind. What lies in
the folder of a run, in MLflow's registry or on a server was written by somebody else: it names registered
parts, and dotted ones only if this process uses them already or its user says so (`trusted`, ``--trust``).
"""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import reduce
from importlib.metadata import EntryPoint
from typing import Any

from clplat.beside import home
from clplat.errors import UserError
from clplat.kinds import Kind

__all__ = ["imported", "is_dotted", "may_import", "registered_only", "trusted"]

_FORM = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")
#: Whether the user said that names from anywhere may be imported.
_TRUSTS: ContextVar[bool] = ContextVar("trusts", default=False)
#: What is being read, where it may name registered parts only.
_READING: ContextVar[str] = ContextVar("reading", default="")
#: Kind and name of the parts that this process uses already: naming one again runs no new code.
_USED: set[tuple[str, str]] = set()


@contextmanager
def trusted() -> Iterator[None]:
    """Inside, folders of runs, registered models and servers may name classes that are then imported.

    Example:
        >>> import clplat
        >>> with clplat.trusted():  # doctest: +SKIP
        ...     retriever = clplat.load("runs/mine")
    """
    before = _TRUSTS.set(True)
    try:
        yield
    finally:
        _TRUSTS.reset(before)


@contextmanager
def registered_only(where: str) -> Iterator[None]:
    """Inside, a name that is not registered, nor in use, is refused; ``where`` says what names it."""
    before = _READING.set(where)
    try:
        yield
    finally:
        _READING.reset(before)


def is_dotted(name: str) -> bool:
    """Whether a name says where its class is written."""
    return ":" in name


def may_import(kind: Kind, name: str) -> bool:
    """Whether a part may be imported here: one with a registered name always."""
    return not (is_dotted(name) and _READING.get()) or _TRUSTS.get() or (kind.slot, name) in _USED


def imported(kind: Kind, name: str) -> Any:
    """The class at a dotted name, which is a part of its kind; nothing of it is called.

    Raises:
        UserError: it may not be imported here, cannot be, or is no part of this kind.
    """
    what = f"{kind.slot} '{name}'"
    if not may_import(kind, name):
        raise UserError(
            f"{_READING.get()} names the {what}, which is not registered, and importing it runs its code; "
            "if you trust it, add --trust (in Python: with clplat.trusted())"
        )
    if not _FORM.fullmatch(name):
        raise UserError(f"cannot load the {what}: a name with a colon is written package.module:Class")
    found = _at(name, what)
    if why := _no_part(kind, found):
        raise UserError(f"the {what} is no {kind.slot}: {why}")
    _USED.add((kind.slot, name))
    return found


def _at(name: str, what: str) -> Any:
    module, _, attributes = name.partition(":")
    try:
        return reduce(getattr, attributes.split("."), importlib.import_module(home(module)))
    except (Exception, SystemExit) as error:  # a module may raise anything while it is imported
        said = str(error) if isinstance(error, ImportError | AttributeError) else repr(error)
        raise UserError(f"cannot load the {what}: {' '.join(said.split())[:200]}") from error


def _no_part(kind: Kind, found: Any) -> str:
    """Why something is no part of a kind; empty if it is one."""
    if not isinstance(found, type):
        return f"it is {type(found).__name__}, not a class"
    if kind.contract:
        contract: Any = EntryPoint(kind.slot, kind.contract, "").load()
        return "" if issubclass(found, contract) else f"it does not extend {contract.__name__}"
    lacks = [method for method in kind.methods if not callable(inspect.getattr_static(found, method, None))]
    return f"it lacks the method {lacks[0]} (a {kind.slot} has {', '.join(kind.methods)})" if lacks else ""
