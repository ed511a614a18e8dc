"""A table of texts that is filled, broken off, and taken up."""

from __future__ import annotations

import pytest

from clplat.data.text_table import TextTable
from clplat.data.text_writing import TextWriter
from clplat.errors import UserError

RULES = [{"what": "captions", "by": "rules"}]


def test_rows_survive_an_error_and_are_not_written_twice(tmp_path):
    path = tmp_path / "sub" / "t.jsonl"
    with pytest.raises(RuntimeError), TextWriter(path, RULES) as table:
        table.add("a", "", ["an a"])
        raise RuntimeError
    with TextWriter(path, [{"what": "rewritten", "by": "small", "prompt": "1f"}]) as table:
        assert table.has("a") and not table.has("a", "is red")
        table.add("a", "is red", ["a red a"])
    held = TextTable.read(path)
    assert held.rows == {("a", ""): ("an a",), ("a", "is red"): ("a red a",)}
    assert [one["what"] for one in held.made] == ["captions", "rewritten"]
    assert not (tmp_path / "sub" / "t.jsonl.partial").exists()


def test_what_a_killed_process_left_is_taken_up_without_its_last_half_line(tmp_path):
    path, partial = tmp_path / "t.jsonl", tmp_path / "t.jsonl.partial"
    whole = '{"made": [{"what": "captions", "by": "rules"}]}\n{"picture": "a", "texts": ["an a"]}\n'
    partial.write_text(whole + '{"picture": "b", "te')
    with TextWriter(path, RULES) as table:
        assert table.has("a") and not table.has("b")
        assert partial.read_text() == whole
        table.add("b", "", ["a b"])
    assert TextTable.read(path).rows == {("a", ""): ("an a",), ("b", ""): ("a b",)}


def test_rows_of_two_sources_are_not_mixed_and_two_writers_not_allowed(tmp_path):
    path = tmp_path / "t.jsonl"
    with TextWriter(path, RULES) as table:
        table.add("a", "", ["an a"])
        with pytest.raises(UserError, match="another process writes"), TextWriter(path, RULES):
            pass
    other = [{"what": "captions", "by": "small", "prompt": "1f"}]
    with (
        pytest.raises(UserError, match=r"were written otherwise \(by rules, now by small"),
        TextWriter(path, other),
    ):
        pass
    assert TextTable.read(path).rows
    with pytest.raises(UserError, match=r"ends with \.jsonl"):
        TextWriter(tmp_path / "t.json", RULES)
