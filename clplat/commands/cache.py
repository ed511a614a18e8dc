"""``clplat cache``: what is kept of frozen models, whether it is whole, and how it goes."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING

from clplat.commands.options import at_least
from clplat.errors import UserError, unknown_name

if TYPE_CHECKING:
    from clplat.cache.store import TableInfo

__all__ = ["add_cache", "cache"]

CACHE_ACTIONS = ("info", "verify", "clear")


def add_cache(parser: ArgumentParser) -> None:
    """The options of ``clplat cache``."""
    parser.add_argument("action", metavar="ACTION", help=", ".join(CACHE_ACTIONS))
    text = "clear only what was not used for this many days"
    parser.add_argument("--older-than", type=at_least(0), metavar="DAYS", help=text)


def cache(options: Namespace, rest: list[str]) -> int:
    """The feature store's contents, health and size."""
    if options.action not in CACHE_ACTIONS:
        raise unknown_name("action", options.action, CACHE_ACTIONS)
    if options.older_than is not None and options.action != "clear":
        raise UserError(f"--older-than is for clplat cache clear, not for {options.action}")
    from clplat.cache.maintenance import in_words
    from clplat.cache.store import Store

    store = Store.default()
    if store.folder is None:
        raise UserError(store.quota.problem or "nothing is kept on disk: CLPLAT_CACHE_LIMIT is 0")
    if options.action == "clear":
        print(f"freed {in_words(store.clear(options.older_than))}")
    if options.action == "verify":
        problems = store.verify()
        for problem in problems:
            print(problem)
        if problems:
            print(
                "delete these files, or everything with clplat cache clear: what is missing is computed again"
            )
            return 1
    tables = store.info()
    if options.action == "info" and tables:
        _print_tables(tables)
    count = f"{len(tables)} table{'s' if len(tables) != 1 else ''}"
    size = in_words(sum(table.bytes for table in tables))
    whole = ", all whole" if options.action == "verify" else ""
    print(f"{count}, {size} of at most {in_words(store.quota.limit_bytes)} in {store.folder}{whole}")
    return 0


def _print_tables(tables: list[TableInfo]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from clplat.cache.maintenance import listing
    from clplat.tables.text import aligned
    from clplat.terminal import plain_output

    head, body = listing(tables)
    if plain_output():
        print(aligned(head, body, 3))
        return
    drawn = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for i, name in enumerate(head):
        drawn.add_column(name, justify="right" if i > 2 else "left", overflow="fold")
    for line in body:
        drawn.add_row(*line)
    Console(highlight=False).print(drawn)
