"""Tables of texts: read as they were written, or refused in one line that says where."""

from __future__ import annotations

import json

import pytest

from clplat.data.text_table import LONGEST, TextTable, row_of
from clplat.errors import UserError

ROWS = {("bag.jpg", ""): ("a red bag",), ("bag.jpg", "is blue"): ("a blue bag", "blau"), ("", "bag"): ("x",)}


def test_a_table_comes_back_whole_and_a_changed_byte_is_told(tmp_path):
    path, table = tmp_path / "t.jsonl", TextTable(ROWS, [{"by": "rules"}])
    table.write(path)
    again = TextTable.read(path)
    assert again.rows == ROWS and again.made == [{"by": "rules"}]
    assert again.fingerprint == table.fingerprint
    assert again.said()["rows"] == 3 and again.said()["texts"] == 4
    path.write_bytes(path.read_bytes().replace(b"a red", b"a rad"))
    with pytest.raises(UserError, match="damaged"):
        TextTable.read(path)


def test_rows_by_hand_and_parquet_are_the_same_table(tmp_path):
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    hand, columns = tmp_path / "hand.jsonl", tmp_path / "t.parquet"
    hand.write_text("".join(json.dumps(row_of(*key, texts)) + "\n" for key, texts in ROWS.items()))
    whole = [{"picture": key[0], "text": key[1], "texts": list(texts)} for key, texts in ROWS.items()]
    parquet.write_table(pa.Table.from_pylist(whole), columns)
    assert TextTable.read(hand).rows == TextTable.read(columns).rows == ROWS
    columns.write_bytes(b"no")
    with pytest.raises(UserError, match="no Parquet"):
        TextTable.read(columns)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("[1]", "t.jsonl:1 is no row"),
        ("{", "t.jsonl:1 is no JSON"),
        ('{"picture": "a", "caption": "b"}', "unknown field 'caption'"),
        ('{"texts": ["b"]}', "names no picture"),
        ('{"picture": "a", "texts": []}', "'texts' should be"),
        ('{"picture": "a", "texts": [" "]}', "1 to 4096 letters"),
        ('{"picture": "a", "texts": "%s"}' % ("x" * (LONGEST + 1)), "1 to 4096 letters"),
        ('{"picture": "a", "texts": "b"}\n{"picture": "a", "texts": "c"}', "t.jsonl:2: picture 'a'.*twice"),
    ],
)
def test_what_is_no_row_is_told_with_its_place(tmp_path, line, said):
    (tmp_path / "t.jsonl").write_text(line + "\n")
    with pytest.raises(UserError, match=said):
        TextTable.read(tmp_path / "t.jsonl")


def test_a_missing_row_says_what_to_do():
    with pytest.raises(
        UserError, match=r"captions\.jsonl has no texts of picture 'hat' and text 'is red'.*write"
    ):
        TextTable(ROWS, where="captions.jsonl").texts("hat", "is red")
    with pytest.raises(UserError, match=r"no texts of text 'hat'"):
        TextTable(ROWS).texts("", "hat")
    with pytest.raises(UserError, match="no such file"):
        TextTable.read("nowhere.jsonl")
