"""Addresses of servers and databases as they may be shown and kept: without passwords."""

from __future__ import annotations

from urllib.parse import unquote

__all__ = ["masked", "without_password"]


def without_password(where: str) -> str:
    """An address without its password and its options, which may hold one too; that of a file as it is.

    Example:
        >>> without_password("postgresql://ann:secret@db.lab:5432/optuna?sslmode=require")
        'postgresql://ann@db.lab:5432/optuna'
        >>> without_password("sqlite:////data/runs/mlflow.db")
        'sqlite:////data/runs/mlflow.db'
    """
    scheme, _, rest = where.partition("://")
    if not rest or rest.startswith("/"):
        return where
    login, at, place = rest.partition("?")[0].rpartition("@")
    return f"{scheme}://{login.partition(':')[0]}{at}{place}"


def masked(text: str, where: str) -> str:
    """A text, such as that of an error, without the password and the options of an address.

    Example:
        >>> masked("no answer from ann:secret@db.lab", "postgresql://ann:secret@db.lab")
        'no answer from ann:***@db.lab'
    """
    rest = where.partition("://")[2]
    if rest.startswith("/"):
        return text
    address, _, options = rest.partition("?")
    password = address.rpartition("@")[0].partition(":")[2]
    text = text.replace(options, "***") if options else text
    for secret in {password, unquote(password)} - {""}:
        text = text.replace(secret, "***")
    return text
