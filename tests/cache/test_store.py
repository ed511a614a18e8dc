"""The feature store in one process: rows come back as they were, damage is found, the size is bounded."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import random
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from clplat.cache import table as tables
from clplat.cache.segments import write_segment
from clplat.cache.store import Store, Table, parse_bytes
from clplat.errors import UserError
from clplat.files import read_json

KEY = {"what": "image", "tap": "pooled", "weights": "4f2a", "dtype": "float32", "shape": [4]}


def rows_of(names: list[str]) -> Tensor:
    """What an encoder would make of these names."""
    return torch.stack([torch.full((4,), float(int(name))) + torch.arange(4) for name in names])


def numbers(start: int, stop: int) -> list[str]:
    return [str(number) for number in range(start, stop)]


def fill(table: Table, names: list[str]) -> None:
    table.put(names, rows_of(names))
    table.flush()


def segments(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.safetensors"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.uint8])
@pytest.mark.parametrize("shape", [(), (5,), (2, 3), (3, 4, 2)])
@pytest.mark.parametrize("at_rest", [True, False])
def test_rows_come_back_bit_by_bit(
    dtype: torch.dtype, shape: tuple[int, ...], at_rest: bool, folder: Path
) -> None:
    key = {"dtype": str(dtype).removeprefix("torch."), "shape": list(shape)}
    values = torch.randint(0, 255, (7, *shape), generator=torch.Generator().manual_seed(0)).to(dtype)
    names = ["a", "b/c", "é", "", "line\nbreak", "\ud800", "z" * 300]
    order = [3, 3, 0, 6, 1]
    store = Store(folder if at_rest else None)
    table = store.table(key)
    table.put(names[:5], values[:5])
    table.flush()
    table.put(names[5:], values[5:])
    for reader in [table] + [Store(folder).table(key)] * at_rest:
        wanted = order if reader is table else [place for place in order if place < 5]
        found = reader.rows([names[place] for place in wanted])
        assert found.dtype == dtype and torch.equal(found, values[wanted])
    table.flush()
    reader = Store(folder).table(key) if at_rest else table
    assert reader.missing([*names, "new"]) == ["new"]
    assert torch.equal(reader.rows(names), values)
    assert reader.rows([]).shape == (0, *shape) and reader.rows([]).dtype == dtype
    assert store.verify() == [] and store.problem == ""


def test_stores_see_each_others_rows(folder: Path) -> None:
    one, two = Store(folder).table(KEY), Store(folder).table(KEY)
    one.put(["1", "2"], rows_of(["1", "2"]))
    assert two.missing(["1", "2"]) == ["1", "2"], "not written yet"
    one.flush()
    assert two.missing(["2", "3", "3", "1", "0"]) == ["3", "0"]
    assert "1" in two and "3" not in two
    fill(two, ["3"])
    assert torch.equal(one.rows(["3", "1"]), rows_of(["3", "1"])), "found without asking for it before"
    with pytest.raises(KeyError, match="7"):
        one.rows(["1", "7"])


def test_a_change_within_a_tick_of_the_clock_is_seen(folder: Path) -> None:
    one, two = Store(folder).table(KEY), Store(folder).table(KEY)
    fill(two, ["1"])
    assert one.missing(["1", "2"]) == ["2"]
    where = segments(folder)[0].parent
    stamp = where.stat().st_mtime_ns
    fill(two, ["2"])
    os.utime(where, ns=(stamp, stamp))
    assert one.missing(["1", "2"]) == []


def test_a_names_first_row_stays(folder: Path) -> None:
    one, two = Store(folder).table(KEY), Store(folder).table(KEY)
    assert not one.missing([]) and "1" not in two
    one.put(["1", "1"], torch.tensor([[1.0] * 4, [2.0] * 4]))
    one.put(["1"], torch.full((1, 4), 3.0))
    one.flush()
    two.put(["1", "2"], torch.full((2, 4), 9.0))  # it has not looked since
    two.flush()
    late = Store(folder).table(KEY)
    assert one.rows(["1", "2"])[:, 0].tolist() == late.rows(["1", "2"])[:, 0].tolist() == [1.0, 9.0]


def test_wrong_rows_are_refused(folder: Path) -> None:
    store = Store(folder)
    table = store.table(KEY)
    for names, rows in (
        (["1"], torch.ones(2, 4)),
        (["1"], torch.ones(1, 5)),
        (["1"], torch.ones(1, 4, dtype=torch.float16)),
    ):
        with pytest.raises(ValueError):
            table.put(names, rows)
    assert table.missing(["1"]) == ["1"]
    open_kind = store.table({"what": "anything"})
    open_kind.put(["1"], torch.ones(1, 2, dtype=torch.uint8))
    with pytest.raises(ValueError, match=r"torch.float32 \(2,\) in a table of torch.uint8 \(2,\)"):
        open_kind.put(["2"], torch.ones(1, 2))


def test_rows_are_private(folder: Path) -> None:
    table = Store(folder).table(KEY)
    given_rows = rows_of(["1", "2"])
    table.put(["1", "2"], given_rows)
    given_rows.zero_()
    for _ in range(2):  # from memory, then from the mapped segment
        found = table.rows(["1", "2"])
        assert torch.equal(found, rows_of(["1", "2"]))
        found.zero_()
        table.flush()
    assert torch.equal(table.rows(["1", "2"]), rows_of(["1", "2"]))
    assert torch.equal(Store(folder).table(KEY).rows(["1", "2"]), rows_of(["1", "2"]))


@pytest.mark.parametrize("at_rest", [True, False])
def test_rows_of_inference_mode_are_ordinary_ones(at_rest: bool, folder: Path) -> None:
    table = Store(folder if at_rest else None).table(KEY)
    with torch.inference_mode():
        table.put(["1", "2", "1"], rows_of(["1", "2", "1"]))
        early = table.rows(["1", "2"])
        table.flush()
        late = table.rows(["1", "2"])
    weight = torch.ones(4, requires_grad=True)
    for found in (early, late, table.rows(["1", "2"])):
        assert not found.is_inference() and not found.requires_grad
        weight.grad = None
        (found * weight).sum().backward()
        assert torch.equal(weight.grad, rows_of(["1", "2"]).sum(0))
    table.put(["3"], rows_of(["3"]) * weight)
    assert not table.rows(["3"]).requires_grad


def test_many_rows_are_written_before_a_flush(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "SEGMENT_BYTES", 10 * 16)
    store = Store(folder)
    table = store.table(KEY)
    for start in range(0, 25, 3):
        table.put(numbers(start, start + 3), rows_of(numbers(start, start + 3)))
    assert Store(folder).table(KEY).missing(numbers(0, 27)) == numbers(24, 27)
    assert torch.equal(table.rows(numbers(0, 27)), rows_of(numbers(0, 27)))
    assert store.bytes_written == sum(path.stat().st_size for path in segments(folder)) > 0


def test_old_rows_are_told_from_own_ones(folder: Path) -> None:
    table = Store(folder).table(KEY)
    fill(table, numbers(0, 100))
    assert table.sample(4) == []
    later = Store(folder).table(KEY)
    fill(later, ["200"])
    assert later.sample(4) == ["0", "25", "50", "75"] == Store(folder).table(KEY).sample(4)
    assert later.sample(4, among=["3", "7", "200"]) == ["3", "7"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
KEYS = st.dictionaries(st.text(max_size=3), JSON, max_size=4)


def shuffled(value: Any) -> Any:
    """The same value with its entries in another order."""
    if isinstance(value, dict):
        return {name: shuffled(value[name]) for name in reversed(value)}
    return [shuffled(entry) for entry in value] if isinstance(value, list) else value


@settings(max_examples=200, deadline=None)
@given(one=KEYS, two=KEYS)
def test_tables_differ_exactly_when_their_keys_do(one: Any, two: Any) -> None:
    store = Store(None)
    assert store.table(one) is store.table(shuffled(one))
    # In Python 1 == 1.0 == True; a key that says another one of them is another key.
    same = json.dumps(one, sort_keys=True) == json.dumps(two, sort_keys=True)
    assert (store.table(one) is store.table(two)) == same
    assert (store.table(one).digest == store.table(two).digest) == same


def test_keys_are_readable_and_apart(folder: Path) -> None:
    store = Store(folder)
    other = {**KEY, "weights": "4f2b"}
    fill(store.table(KEY), ["1"])
    store.table(other).put(["1"], torch.zeros(1, 4))
    store.flush()
    digest = store.table(KEY).digest
    path = folder / digest[:2] / digest / "key.json"
    assert read_json(path) == KEY and '\n  "tap": "pooled",\n' in path.read_text()
    assert store.table(other).rows(["1"]).sum() == 0
    assert torch.equal(store.table(KEY).rows(["1"]), rows_of(["1"]))
    for bad in ({"a": float("nan")}, {"a": Path("b")}):
        with pytest.raises((TypeError, ValueError)):
            store.table(bad)


@pytest.mark.parametrize("content", [None, b"", b"{", b"[]", b'{"what": "text"}'])
def test_a_missing_or_damaged_key_is_reported_and_written_again(content: bytes | None, folder: Path) -> None:
    fill(Store(folder).table(KEY), ["1"])
    path = segments(folder)[0].with_name("key.json")
    path.unlink() if content is None else path.write_bytes(content)
    assert [problem for problem in Store(folder).verify() if str(path) in problem]
    assert "1" in Store(folder).table(KEY)
    assert read_json(path) == KEY
    assert Store(folder).verify() == []


@pytest.mark.parametrize("keep", [0, 3, 60, 200, -1])
def test_rows_of_a_cut_segment_are_missing(keep: int, folder: Path) -> None:
    table = Store(folder).table(KEY)
    fill(table, numbers(0, 5))
    fill(table, numbers(5, 8))
    cut = segments(folder)[0]
    content = cut.read_bytes()
    cut.unlink()  # not under the mapping of the table
    cut.write_bytes(content[:keep])
    (problem,) = Store(folder).verify()
    assert problem.startswith(f"{cut} is not readable") and "\n" not in problem
    late = Store(folder).table(KEY)
    assert late.missing(numbers(0, 8)) == numbers(0, 5)
    fill(late, numbers(0, 5))  # computed again
    assert torch.equal(Store(folder).table(KEY).rows(numbers(0, 8)), rows_of(numbers(0, 8)))


def test_every_flipped_bit_is_reported(folder: Path) -> None:
    fill(Store(folder).table(KEY), numbers(0, 5))
    path = segments(folder)[0]
    content = path.read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")  # of the names and rows
    for place in (*range(start, len(content), 7), len(content) - 1):
        changed = bytearray(content)
        changed[place] ^= 1
        path.write_bytes(changed)
        (problem,) = Store(folder).verify()
        assert problem.startswith(str(path)), place
    path.write_bytes(content)
    assert Store(folder).verify() == []


def test_a_flipped_byte_costs_the_rows_of_its_segment_and_nothing_else(folder: Path) -> None:
    """Detected, or in words that nobody reads: no place of the file gives another row."""
    table = Store(folder).table(KEY)
    fill(table, numbers(0, 5))
    fill(table, numbers(5, 8))
    path, dice = segments(folder)[0], random.Random(0)
    content, found = path.read_bytes(), 0
    for place in range(len(content)):
        path.unlink()  # not under the mapping of the table
        path.write_bytes(
            content[:place] + bytes([content[place] ^ dice.randrange(1, 256)]) + content[place + 1 :]
        )
        store = Store(folder)
        late = store.table(KEY)
        missing = late.missing(numbers(0, 8))
        assert missing in ([], numbers(0, 5)), place
        late.put(missing, rows_of(missing) if missing else torch.empty(0, 4))
        assert torch.equal(late.rows(numbers(0, 8)), rows_of(numbers(0, 8))), place
        assert bool(missing) == ("its rows are computed again" in store.problem)
        found += bool(missing)
    assert found > len(content) - 40
    assert torch.equal(table.rows(numbers(0, 8)), rows_of(numbers(0, 8))), "who read it before has it still"


def test_rows_that_another_segment_has_as_well_are_taken_from_there(folder: Path) -> None:
    fill(Store(folder).table(KEY), numbers(0, 3))
    path = segments(folder)[0]
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    fill(Store(folder).table(KEY), numbers(0, 2))
    late = Store(folder).table(KEY)
    assert late.missing(numbers(0, 3)) == ["2"]
    assert torch.equal(late.rows(["0", "1"]), rows_of(["0", "1"]))


def test_a_segment_is_read_once_by_a_process_and_only_if_it_is_asked_for(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = Store(folder).table(KEY)
    fill(table, numbers(0, 5))
    fill(table, numbers(5, 8))
    read: list[str] = []
    monkeypatch.setattr("clplat.cache.index.check_segment", lambda path: read.append(path.name))
    late = Store(folder).table(KEY)
    for _ in range(3):
        assert late.missing(["1", "2"]) == []
        late.rows(["1", "2"])
    assert read == [segments(folder)[0].name]
    assert "7" in late
    table.rows(numbers(0, 8))
    assert read == [path.name for path in segments(folder)]


@pytest.mark.parametrize("damaged", [False, True])
def test_segments_of_older_releases_are_read_and_checked(damaged: bool, folder: Path) -> None:
    """They hold a sha256 of their tensors."""
    table = Store(folder).table(KEY)
    fill(table, ["9"])
    names = torch.frombuffer(bytearray(json.dumps(["1", "2"]).encode()), dtype=torch.uint8)
    digest = hashlib.sha256(names.numpy().tobytes() + rows_of(["1", "2"]).numpy().tobytes()).hexdigest()
    rows = rows_of(["1", "3" if damaged else "2"])
    where = segments(folder)[0].with_name("00000009-old.safetensors")
    save_file({"names": names, "rows": rows}, where, {"digest": table.digest, "sha256": digest})
    assert table.missing(["1", "2"]) == (["1", "2"] if damaged else [])
    assert len(Store(folder).verify()) == damaged


def test_a_segment_of_another_table_is_not_taken(folder: Path) -> None:
    store = Store(folder)
    fill(store.table(KEY), ["1"])
    fill(store.table({**KEY, "weights": "other"}), ["2"])
    first, second = segments(folder)
    stray = first.with_name("00000009-stray.safetensors")
    stray.write_bytes(second.read_bytes())
    (first.parent / "notes.txt").write_text("not ours")
    assert Store(folder).verify() == [f"{stray} belongs to another key"]
    mine = "1" if first.parent.name == store.table(KEY).digest else "2"
    table = next(t for t in (store.table(KEY), store.table({**KEY, "weights": "other"})) if mine in t)
    assert table.missing(["1", "2"]) == [{"1": "2", "2": "1"}[mine]]


def test_rows_that_their_key_does_not_mean_are_not_taken(folder: Path) -> None:
    table = Store(folder).table(KEY)
    fill(table, ["1"])
    where = segments(folder)[0].parent
    wrong = write_segment(where, table.digest, ["2"], torch.ones(1, 5))
    half = write_segment(where, table.digest, ["3"], torch.ones(1, 4, dtype=torch.float16))
    assert Store(folder).table(KEY).missing(["1", "2", "3"]) == ["2", "3"] == table.missing(["1", "2", "3"])
    assert Store(folder).verify() == [
        f"{wrong} has rows of shape [5], its key says [4]",
        f"{half} has rows of dtype float16, its key says float32",
    ]


def test_a_segment_that_vanishes_while_it_is_opened(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """torch opens the file a second time, to map it."""
    table = Store(folder).table(KEY)
    for name in ("1", "2", "3"):
        fill(table, [name])
    true_open, (first, second, _) = safe_open, segments(folder)
    leaving = [first]

    def vanishing(path: Path, framework: str) -> Any:
        if leaving and path == leaving[0]:
            leaving.pop(0).unlink()
            raise RuntimeError(f"unable to open file <{path}>")
        return true_open(path, framework=framework)

    monkeypatch.setattr("clplat.cache.segments.safe_open", vanishing)
    assert Store(folder).verify() == [] and not leaving
    leaving.append(second)
    assert Store(folder).table(KEY).missing(["1", "2", "3"]) == ["1", "2"] and not leaving


def aged(path: Path, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(path, (then, then))


def test_the_tables_used_longest_ago_go_first_and_the_last_of_them_in_part(folder: Path) -> None:
    writer = Store(folder)
    for number in range(12):
        fill(writer.table({**KEY, "n": number // 3}), [str(number)])
    size = segments(folder)[0].stat().st_size
    for n, age in enumerate([4000, 1000, 3000, 2000]):
        for path in segments(folder / writer.table({**KEY, "n": n}).digest[:2]):
            aged(path, age)
    store = Store(folder, limit_bytes=10 * size + size // 2)  # the thirteenth is too much; 90 % are nine
    assert torch.equal(store.table({**KEY, "n": 0}).rows(["2"]), rows_of(["2"]))  # the oldest, used now
    fill(store.table({**KEY, "n": 4}), ["12"])
    left = [
        int(name) for n in range(5) for name in numbers(0, 13) if name in Store(folder).table({**KEY, "n": n})
    ]
    assert left == [0, 1, 2, 3, 4, 5, 10, 11, 12], "table 2 is gone, table 3 has lost its oldest segment"
    assert sum(path.stat().st_size for path in segments(folder)) <= 0.9 * store.limit_bytes
    assert len(list(folder.rglob("key.json"))) == 4


def test_the_bound_holds_and_rows_serve_until_the_next_question(folder: Path) -> None:
    first = Store(folder)
    fill(first.table(KEY), ["0"])
    size = segments(folder)[0].stat().st_size
    store = Store(folder, limit_bytes=3 * size)
    table = store.table(KEY)
    for number in range(1, 9):
        fill(table, [str(number)])
        assert sum(path.stat().st_size for path in segments(folder)) <= store.limit_bytes
    assert torch.equal(table.rows(numbers(0, 9)), rows_of(numbers(0, 9))), "deleted, but not requested since"
    absent = table.missing(numbers(0, 9))
    assert {"0", "1", "2"} <= set(absent) and "8" not in absent
    with pytest.raises(KeyError):
        table.rows(["0"])
    assert Store(folder).table(KEY).missing(numbers(0, 9)) == absent


def test_a_table_larger_than_the_store_serves_what_was_asked_for(folder: Path) -> None:
    table = Store(folder, limit_bytes=100).table(KEY)
    for names in (numbers(0, 5), numbers(5, 10)):
        with table.filling():
            fill(table, names)
        assert torch.equal(table.rows(names), rows_of(names)) and segments(folder) == []
        assert table.missing(names) == names


def test_a_use_is_noted_at_most_once_a_minute(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(Store(folder).table(KEY), ["1"])
    path = segments(folder)[0]
    aged(path, 1000)
    table = Store(folder).table(KEY)
    assert time.time() - path.stat().st_mtime > 900, "opening is no use"
    table.rows(["1"])
    assert time.time() - path.stat().st_mtime < 60
    aged(path, 1000)
    table.rows(["1"])
    assert time.time() - path.stat().st_mtime > 900
    later = time.time() + 61
    monkeypatch.setattr(tables.time, "time", lambda: later)
    table.rows(["1"])
    assert time.time() - path.stat().st_mtime < 120


def test_clearing_by_age_and_altogether(folder: Path) -> None:
    store = Store(folder)
    for number in range(3):
        fill(store.table({**KEY, "n": number}), [str(number)])
        aged(next(iter(segments(folder / store.table({**KEY, "n": number}).digest[:2]))), number * 86400 + 60)
    size = segments(folder)[0].stat().st_size
    assert [(table.key["n"], table.rows, table.bytes) for table in store.info()] == [
        (0, 1, size),
        (1, 1, size),
        (2, 1, size),
    ]
    assert store.clear(older_than_days=2.5) == 0
    assert store.clear(older_than_days=1.5) == size
    assert store.table({**KEY, "n": 2}).missing(["2"]) == ["2"], "forgotten in this process as well"
    assert [table.key["n"] for table in store.info()] == [0, 1]
    assert store.clear() == 2 * size and list(folder.iterdir()) == []
    fill(store.table(KEY), ["1"])
    assert "1" in Store(folder).table(KEY)


def test_a_folder_that_cannot_be_written_means_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CLPLAT_CACHE", str(tmp_path / "file" / "below"))
    store = Store.default()
    assert store.folder is None and str(tmp_path / "file" / "below") in store.problem
    assert "\n" not in store.problem
    with store.table(KEY).filling():
        fill(store.table(KEY), ["1"])
    assert torch.equal(store.table(KEY).rows(["1"]), rows_of(["1"])) and store.bytes_written == 0
    assert [table.rows for table in store.info()] == [1]


def test_a_folder_that_cannot_be_written_is_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No lock, no temporary file, no time of use: nothing is tried that must fail."""
    fill(Store(folder).table(KEY), ["1", "2"])
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    segments(folder)[0].with_name(".lock").unlink(missing_ok=True)
    before = {path: path.stat().st_mtime_ns for path in [folder, *folder.rglob("*")]}
    monkeypatch.setattr("clplat.cache.store.os.access", lambda path, mode: mode != os.W_OK)
    store = Store(folder)
    assert "cannot write to" in store.problem and str(folder) in store.problem
    table = store.table(KEY)
    with table.filling():
        assert table.missing(["1", "2", "3"]) == ["3"]
        fill(table, ["3"])
    assert torch.equal(table.rows(["3", "1"]), rows_of(["3", "1"])) and store.bytes_written == 0
    assert [info.rows for info in store.info()] == [2] and store.verify() == []
    assert {path: path.stat().st_mtime_ns for path in [folder, *folder.rglob("*")]} == before


def test_a_full_disk_costs_no_row(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_space(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    store = Store(folder)
    table = store.table(KEY)
    fill(table, ["1"])
    monkeypatch.setattr("clplat.files.os.replace", no_space)
    fill(table, ["2"])
    fill(table, ["3"])
    assert "No space left on device" in store.problem
    assert torch.equal(table.rows(["3", "1", "2"]), rows_of(["3", "1", "2"]))
    monkeypatch.undo()
    fill(table, ["4"])  # there is room again
    assert Store(folder).table(KEY).missing(numbers(1, 5)) == ["2", "3"]


def test_the_folder_and_limit_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CLPLAT_CACHE", raising=False)
    monkeypatch.delenv("CLPLAT_CACHE_LIMIT", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Store.default().folder == tmp_path / ".cache" / "clplat"
    assert Store.default().limit_bytes == 20 * 10**9
    monkeypatch.setenv("CLPLAT_CACHE", str(tmp_path / "mine"))
    monkeypatch.setenv("CLPLAT_CACHE_LIMIT", "500MB")
    assert (Store.default().folder, Store.default().limit_bytes) == (tmp_path / "mine", 500 * 10**6)
    monkeypatch.setenv("CLPLAT_CACHE_LIMIT", "0")
    assert Store.default().folder is None
    monkeypatch.setenv("CLPLAT_CACHE_LIMIT", "a lot")
    with pytest.raises(UserError, match=r"CLPLAT_CACHE_LIMIT takes .* not 'a lot'"):
        Store.default()


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("20GB", 20 * 10**9),
        ("1.5 tb", 15 * 10**11),
        ("7", 7),
        ("3kB", 3000),
        ("12B", 12),
        (" 2MB ", 2 * 10**6),
    ],
)
def test_sizes_in_words(text: str, wanted: int) -> None:
    assert parse_bytes(text, "x") == wanted


@pytest.mark.parametrize("text", ["", "GB", "-1", "1e9", "20 G", "1 GB 2"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(UserError, match="takes a number of bytes"):
        parse_bytes(text, "x")


def test_mapped_rows_take_no_memory(folder: Path) -> None:
    """64 MiB are opened and a few rows taken: the process grows by far less."""
    key = {"what": "wide", "dtype": "float32", "shape": [2**16]}
    writer = Store(folder).table(key)
    writer.put(numbers(0, 256), torch.arange(256.0)[:, None].expand(-1, 2**16))
    writer.flush()

    def private() -> int:
        lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
        return sum(int(line.split()[1]) for line in lines if line.startswith("Private_Dirty"))

    before = private()
    table = Store(folder).table(key)
    assert table.rows(["7", "200"])[:, 5].tolist() == [7.0, 200.0]
    assert private() - before < 16 * 1024
