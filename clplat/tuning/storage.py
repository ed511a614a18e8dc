"""Where Optuna keeps studies: a journal beside the runs, a database, or a gRPC proxy in front of either."""

from __future__ import annotations

import logging
import re
import time
import warnings
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import optuna
from optuna.storages import GrpcStorageProxy, RDBStorage

from clplat.addresses import masked, without_password
from clplat.errors import UserError
from clplat.tuning.journal import JOURNAL, open_journal

__all__ = ["open_storage"]

#: Seconds in which a server must answer.
PATIENCE = 5
#: The port where an address names none.
GRPC_PORT = 13000
#: How often making the tables of a new database is tried.
TRIES = 4


def open_storage(where: str | None, out: Path) -> optuna.storages.BaseStorage:
    """Open a storage.

    Args:
        where: None for ``<out>/studies.journal``; ``postgresql://...`` or another address that SQLAlchemy
            takes; ``grpc://host:port`` for an Optuna gRPC proxy.
        out: folder of the sweep.

    Raises:
        UserError: it cannot be opened, is damaged, or does not answer; the line holds no password.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    if where is None:
        try:
            out.mkdir(parents=True, exist_ok=True)
            return open_journal(out / JOURNAL)
        except OSError as error:
            raise UserError(f"cannot use the folder {out}: {error.strerror or error}") from error
    if "://" not in where:
        raise UserError(
            f"a storage is an address such as postgresql://host/database or grpc://host:port, not '{where}'"
        )
    try:
        return _proxy(where) if where.startswith("grpc://") else _database(where)
    except Exception as error:  # those of SQLAlchemy, its drivers and gRPC have no common base
        driver = isinstance(error, ImportError)
        what = "needs a driver" if driver else "cannot be opened"
        hint = " (pip install 'clplat[postgres]')" if driver and where.startswith("postgres") else ""
        raise UserError(
            f"the storage {without_password(where)} {what}: {_why(error, where)}{hint}"
        ) from error


def _proxy(where: str) -> GrpcStorageProxy:
    address = urlsplit(where)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        proxy = GrpcStorageProxy(host=address.hostname or "localhost", port=address.port or GRPC_PORT)
    proxy.wait_server_ready(timeout=PATIENCE)
    return proxy


def _database(where: str) -> RDBStorage:
    from sqlalchemy.exc import IntegrityError, ProgrammingError

    logging.getLogger("alembic").setLevel(logging.WARNING)
    # Which driver SQLAlchemy takes where none is named depends on its version; the extra brings this one.
    where = re.sub("^postgres(ql)?://", "postgresql+psycopg2://", where)
    options: dict[str, Any] = {"pool_pre_ping": True}
    if urlsplit(where).scheme in ("postgresql+psycopg2", "postgresql+psycopg"):
        options["connect_args"] = {"connect_timeout": PATIENCE}
    for _ in range(TRIES - 1):
        try:
            return RDBStorage(where, engine_kwargs=options)
        except (IntegrityError, ProgrammingError):  # another process makes the tables at this moment
            time.sleep(0.5)
    return RDBStorage(where, engine_kwargs=options)


def _why(error: Exception, where: str) -> str:
    """The text of an error in one line, without the password."""
    text = " ".join(str(getattr(error, "orig", None) or error).split())
    return masked(text, where)[:200]
