"""Tables for other programs, read back by libraries that know the formats."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clplat.errors import UserError
from clplat.report import write_tables
from clplat.tables.comparison import plain
from clplat.tables.export import FORMATS

HEAD = ["method", "R@5 (%)"]
BODY = [['replay, "new"', "61.2±0.4"], ["a_b & 5 %", "–"]]


def test_csv_comes_back_as_it_was() -> None:
    assert list(csv.reader(io.StringIO(FORMATS["csv"](HEAD, BODY, 1)))) == [HEAD, *BODY]


def test_latex_has_rules_and_escapes() -> None:
    text = FORMATS["latex"](HEAD, BODY, 1)
    assert text.startswith("\\begin{tabular}{lr}\n\\toprule\nmethod & R@5 (\\%) \\\\\n\\midrule\n")
    assert "a\\_b \\& 5 \\% & – \\\\" in text and text.endswith("\\bottomrule\n\\end{tabular}")


@pytest.mark.parametrize("form", FORMATS)
def test_the_comparison_is_written_in_every_format(form: str) -> None:
    row = {
        "scenario": "catalogue",
        "strategy": "replay",
        "label": "replay",
        "primary": "R5",
        "n": 1,
        "score": 61.25,
        "R5": 61.25,
    }
    assert "replay" in plain([row], form) and "61.2" in plain([row], form)


def test_every_table_of_a_report_is_a_file(make_sweep: Callable[..., Any], tmp_path: Path) -> None:
    outcome = make_sweep(tmp_path)
    paths = write_tables(tmp_path, "csv")
    names = [path.name for path in paths]
    assert "answer-1.csv" in names and "costs-1.csv" in names and "comparisons-1.csv" in names
    found = list(csv.DictReader((tmp_path / "tables/answer-1.csv").read_text().splitlines()))
    methods = [row["label"] for row in outcome["rows"] if not row["bound"]]
    assert {line["method"].split(" ")[0] for line in found} >= {name.split(" ")[0] for name in methods}
    assert all(None not in line and None not in line.values() for line in found), "lines of one length"
    with pytest.raises(UserError, match="unknown format 'cvs'; did you mean 'csv'"):
        write_tables(tmp_path, "cvs")
