"""The feature store among processes: rows are computed once, and a killed writer does no harm."""

from __future__ import annotations

import os
import random
import signal
import time
import traceback
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest
import torch
from torch import Tensor

from clplat.cache import table as tables
from clplat.cache.store import Store
from clplat.locks import is_locked

KEY = {"what": "image", "dtype": "float32", "shape": [4]}


def rows_of(names: list[str]) -> Tensor:
    return torch.stack([torch.full((4,), float(int(name))) + torch.arange(4) for name in names])


def numbers(start: int, stop: int) -> list[str]:
    return [str(number) for number in range(start, stop)]


def forked(work: Callable[[], object]) -> int:
    """Run in a child that leaves without any clean-up; returns its process id."""
    child = os.fork()
    if child == 0:
        code = 1
        signal.alarm(600)  # a process that waits for a lock this long has failed
        try:
            work()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    return child


def joined(*children: int) -> None:
    for child in children:
        assert os.waitpid(child, 0)[1] == 0


def fill(folder: Path, log: Path, seed: int) -> None:
    """What the engine does, with other names in another order in each process."""
    draw = random.Random(seed)
    table = Store(folder).table(KEY)
    for _ in range(6):
        start = draw.randrange(60)
        wanted = draw.sample(numbers(start, start + 40), 40)
        if table.missing(wanted):
            with table.filling():
                for name in table.missing(wanted):
                    table.put([name], rows_of([name]))
                    with log.open("a") as file:
                        file.write(f"{name}\n")
        assert torch.equal(table.rows(wanted), rows_of(wanted))


def test_four_processes_compute_each_row_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "SEGMENT_BYTES", 10 * 16)
    folder, log = tmp_path / "store", tmp_path / "log"
    children = [forked(lambda seed=seed: fill(folder, log, seed)) for seed in range(4)]
    joined(*children)
    computed = log.read_text().split()
    assert len(computed) == len(set(computed)) > 60
    store = Store(folder)
    assert store.table(KEY).missing(computed) == [] and store.verify() == []
    assert torch.equal(store.table(KEY).rows(computed), rows_of(computed))


def test_writers_without_the_lock_do_no_harm(tmp_path: Path) -> None:
    def write(first: int) -> None:
        table = Store(tmp_path).table(KEY)
        for start in range(first, first + 30, 5):
            table.put(numbers(start, start + 20), rows_of(numbers(start, start + 20)))
            table.flush()

    joined(*(forked(lambda first=first: write(first)) for first in (0, 7, 14, 21)))
    store = Store(tmp_path)
    assert store.verify() == []
    assert torch.equal(store.table(KEY).rows(numbers(0, 66)), rows_of(numbers(0, 66)))


def test_processes_over_the_limit_still_read_right(tmp_path: Path) -> None:
    def work(seed: int) -> None:
        draw = random.Random(seed)
        table = Store(tmp_path, limit_bytes=3000).table(KEY)
        for _ in range(25):
            wanted = draw.sample(numbers(0, 50), 5)
            absent = table.missing(wanted)
            if absent:
                table.put(absent, rows_of(absent))
                table.flush()
            assert torch.equal(table.rows(wanted), rows_of(wanted))

    joined(*(forked(lambda seed=seed: work(seed)) for seed in range(4)))
    assert Store(tmp_path).verify() == []
    assert sum(path.stat().st_size for path in tmp_path.rglob("*.safetensors")) <= 3000 + 4 * 500


def test_a_writer_killed_at_any_instant(tmp_path: Path) -> None:
    """What was flushed is there, what is there is right, and no process waits for the dead one."""
    draw = random.Random(0)
    flushed = 0
    for attempt in range(20):
        begin, end = os.pipe()

        def write(first: int = flushed, pipe: int = end) -> None:
            table = Store(tmp_path).table(KEY)
            for number in count(first):  # until it is killed
                with table.filling():
                    table.put([str(number)], rows_of([str(number)]))
                os.write(pipe, b".")

        child = forked(write)
        os.close(end)
        for _ in range(draw.randrange(1, 5)):
            flushed += len(os.read(begin, 1))
        time.sleep(draw.uniform(0, 0.01))  # somewhere in the next ones
        os.kill(child, signal.SIGKILL)
        assert os.waitpid(child, 0)[1] == signal.SIGKILL
        while part := os.read(begin, 1000):
            flushed += len(part)
        os.close(begin)
        store = Store(tmp_path)
        table = store.table(KEY)
        assert table.missing(numbers(0, flushed)) == [], attempt
        there = numbers(0, flushed + 1)[: flushed + (str(flushed) in table)]
        assert torch.equal(table.rows(there), rows_of(there))
        assert store.verify() == []
        (lock,) = tmp_path.rglob(".lock")
        assert not is_locked(lock), "the dead one holds nothing"
    assert flushed > 40
    others = [path.name for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".safetensors"]
    assert [n for n in others if n not in ("key.json", ".lock") and not n.endswith(".clplat-tmp")] == []


def test_leftovers_of_killed_writers_go_after_an_hour(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write() -> None:
        table = Store(tmp_path).table(KEY)
        table.put(["1"], rows_of(["1"]))
        monkeypatch.setattr("clplat.files.os.fsync", dying)
        table.flush()

    def dying(handle: int) -> None:
        os.ftruncate(handle, os.fstat(handle).st_size // 2)
        os._exit(0)

    joined(forked(write), forked(write))
    old, young = tmp_path.rglob(".*.clplat-tmp")
    then = time.time() - 3700
    os.utime(old, (then, then))
    store = Store(tmp_path)
    table = store.table(KEY)
    assert table.missing(["1"]) == ["1"] and store.verify() == []
    table.put(["1"], rows_of(["1"]))
    table.flush()
    assert young.exists() and not old.exists()
    assert torch.equal(Store(tmp_path).table(KEY).rows(["1"]), rows_of(["1"]))


def test_the_lock_holds_among_processes_and_inside_one_it_does_not(tmp_path: Path) -> None:
    begin, end = os.pipe()
    table = Store(tmp_path).table(KEY)

    def wait() -> None:
        os.write(end, b"held" if is_locked(path) else b"free")
        with Store(tmp_path).table(KEY).filling():
            os.write(end, b".")

    with table.filling(), table.filling():
        (path,) = tmp_path.rglob(".lock")
        child = forked(wait)
        assert os.read(begin, 4) == b"held"
        os.set_blocking(begin, False)
        with pytest.raises(BlockingIOError):
            os.read(begin, 1)
    joined(child)
    assert os.read(begin, 1) == b"."


def test_a_child_that_outlives_the_filling_does_not_keep_the_lock(tmp_path: Path) -> None:
    table = Store(tmp_path).table(KEY)
    with table.filling():
        child = forked(signal.pause)
    try:
        joined(forked(lambda: fill(tmp_path, tmp_path / "log", 0)))
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_clearing_while_another_process_fills(tmp_path: Path) -> None:
    """A process that waits for a lock whose file is deleted meanwhile must not believe to hold one."""

    def work() -> None:
        table = Store(tmp_path / "store").table(KEY)
        for _ in range(30):
            with table.filling():
                (tmp_path / "busy").mkdir()  # fails when another one is in here
                table.put(["1"], rows_of(["1"]))
                (tmp_path / "busy").rmdir()
            assert torch.equal(table.rows(["1"]), rows_of(["1"]))

    children = [forked(work) for _ in range(3)]
    store, working = Store(tmp_path / "store"), set(children)
    while working:
        store.clear()
        time.sleep(0.002)
        for child in list(working):
            ended, status = os.waitpid(child, os.WNOHANG)
            assert status == 0
            working -= {ended}
    assert Store(tmp_path / "store").verify() == []
