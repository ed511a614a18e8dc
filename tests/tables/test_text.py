"""How tables of text are laid out and coloured."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from clplat.plots.colours import strategy_colour
from clplat.roles import role_of
from clplat.tables.text import coloured, markdown


def test_methods_have_their_colours_and_what_a_dark_terminal_would_hide_is_dim() -> None:
    names = ["replay", "naive", "frozen", "cumulative"]
    table = coloured(["strategy", "R@5"], [[name, "50.0"] for name in names], 1, names)
    (cells, numbers) = ([cell.style for cell in column.cells] for column in table.columns)
    assert cells == [strategy_colour("replay"), strategy_colour("naive"), "dim", "dim"]
    assert set(numbers) == {""}
    console = Console(file=io.StringIO(), width=40, color_system=None)
    console.print(table)
    assert "cumulative" in console.file.getvalue()  # type: ignore[attr-defined]


def test_markdown_puts_numbers_to_the_right() -> None:
    assert markdown(["method", "R@5"], [["replay", "50.0"]], 1).splitlines() == [
        "| method | R@5 |",
        "| --- | ---: |",
        "| replay | 50.0 |",
    ]


@pytest.mark.parametrize(
    ("entry", "role"),
    [
        ({"strategy": "cumulative"}, "upper bound"),
        ({"config": {"strategy": {"name": "frozen"}}}, "lower bound"),
        ({"config": {"strategy": {"name": "mine"}}}, "method"),
        ({"strategy": "naive"}, "lower bound"),
    ],
)  # fmt: skip
def test_the_role_is_what_the_class_of_the_strategy_says(entry: dict[str, object], role: str) -> None:
    assert role_of(entry) == role
