"""The same numbers in CSV, TensorBoard and Weights & Biases, read back by their libraries; nothing twice."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clplat.errors import UserError
from clplat.events import Listener
from clplat.tracking.listeners import AlsoListener, writers
from clplat.tracking.metrics import row_metrics, rows_done


def in_parts(result: dict[str, Any], rows: int) -> dict[str, Any]:
    """The result as it was after so many rows."""
    metrics = {name: values[:rows] for name, values in result["metrics"].items()}
    return {**result, "metrics": metrics, "scores": result["scores"][:rows], "status": "running"}


@pytest.fixture
def result(make_result: Callable[..., Any]) -> dict[str, Any]:
    return dict(make_result("replay", 0))


def written_twice(names: str, folder: Path, result: dict[str, Any]) -> None:
    """As a run that is killed after two rows, goes on in another process, and is written again at last."""
    for shown in (in_parts(result, 2), result, result):
        listener = AlsoListener(Listener(), writers(names, folder))
        listener.row(in_parts(shown, min(1, rows_done(shown))))
        listener.row(shown)
        listener.finished(shown)


def test_csv_has_a_line_a_version(result: dict[str, Any], tmp_path: Path) -> None:
    written_twice("csv", tmp_path, result)
    lines = list(csv.DictReader((tmp_path / "metrics.csv").read_text().splitlines()))
    assert [line["after"] for line in lines] == ["", *result["domains"]]
    for row, line in enumerate(lines):
        found = {
            name: float(value) for name, value in line.items() if name not in ("step", "after") and value
        }
        assert found == pytest.approx(row_metrics(result, row))


def test_tensorboard_has_every_metric_once(result: dict[str, Any], tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    written_twice("tensorboard", tmp_path, result)
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    for row in range(rows_done(result)):
        for name, value in row_metrics(result, row).items():
            at = [event.value for event in events.Scalars(name) if event.step == row]
            assert at == pytest.approx([value], rel=1e-6), name


def spied(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[tuple[int, dict[str, float]]]]:
    """What Weights & Biases is given from now on, without a network: id of a run -> steps and metrics."""
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    logged: dict[str, list[tuple[int, dict[str, float]]]] = {}
    log = wandb.sdk.wandb_run.Run.log

    def spy(run: Any, data: dict[str, float], step: int) -> None:
        logged.setdefault(run.id, []).append((step, data))
        log(run, data, step=step)

    monkeypatch.setattr(wandb.sdk.wandb_run.Run, "log", spy)
    return logged


def test_wandb_gets_the_rows_without_a_network(
    result: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged = spied(monkeypatch)
    listener = AlsoListener(Listener(), writers("wandb", tmp_path))
    listener.row(in_parts(result, 2))
    listener.finished(result)
    assert list(logged.values()) == [[(row, row_metrics(result, row)) for row in range(rows_done(result))]]
    assert list((tmp_path / "wandb").glob("offline-run-*/*.wandb"))


class Failing:
    """A writer that fails a few times, and keeps what it was given."""

    name = "csv"

    def __init__(self, folder: Path, failures: int) -> None:
        self.folder, self.left, self.written, self.closed = folder, failures, list[int](), 0

    def write(self, result: dict[str, Any]) -> None:
        if self.left:
            self.left -= 1
            raise OSError(28, "No space left on device")
        self.written.append(rows_done(result))

    def close(self) -> None:
        self.closed += 1


class Seen(Listener):
    def __init__(self) -> None:
        self.notes: list[str] = []
        self.events: list[str] = []

    def row(self, result: dict[str, Any]) -> None:
        self.events.append("row")

    def finished(self, result: dict[str, Any]) -> None:
        self.events.append("finished")

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.mark.parametrize(("failures", "written"), [(1, [2, 5, 5]), (3, [5]), (9, [])])
def test_a_writer_that_fails_costs_a_line_and_is_tried_again(
    failures: int, written: list[int], result: dict[str, Any], tmp_path: Path
) -> None:
    seen, failing, other = Seen(), Failing(tmp_path, failures), Failing(tmp_path, 0)
    listener = AlsoListener(seen, [failing, other])
    for shown in (in_parts(result, 1), in_parts(result, 2), result):
        listener.row(shown)
    listener.finished(result)
    assert seen.events == ["row", "row", "row", "finished"]
    assert failing.written == written and failing.closed == 1
    assert other.written == [1, 2, 5, 5] and other.closed == 1
    assert seen.notes == [
        "not written to csv: OSError: [Errno 28] No space left on device; the results on disk are whole, and "
        f"`clplat track {tmp_path} --also csv` writes them later"
    ]


def test_runs_of_a_sweep_tell_a_failure_once(result: dict[str, Any], tmp_path: Path) -> None:
    seen, told = Seen(), set[str]()
    for seed in range(3):
        AlsoListener(seen, [Failing(tmp_path / str(seed), 9)], told).finished(result)
    assert len(seen.notes) == 1 and seen.events == ["finished"] * 3


def test_tensorboard_that_failed_in_between_has_every_metric_once(
    result: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from torch.utils.tensorboard import SummaryWriter

    flush, calls = SummaryWriter.flush, list[int]()

    def once(events: Any) -> None:
        calls.append(1)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        flush(events)

    monkeypatch.setattr(SummaryWriter, "flush", once)
    listener = AlsoListener(Listener(), writers("tensorboard", tmp_path))
    for shown in (in_parts(result, 2), in_parts(result, 3), result):
        listener.row(shown)
    listener.finished(result)
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    found = [event.step for event in events.Scalars(next(iter(row_metrics(result, 0))))]
    assert found == list(range(rows_done(result)))


def test_runs_at_once_are_apart_in_wandb(
    make_result: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The workers of a sweep have their events in one process, in any order."""
    logged = spied(monkeypatch)
    results = [make_result("replay", 0), make_result("ewc", 1)]
    seen, told = Seen(), set[str]()
    folders = [tmp_path / result["name"] for result in results]
    each = [AlsoListener(seen, writers("wandb", folder), told) for folder in folders]
    for rows in (1, 3):
        for listener, result in zip(each, results, strict=True):
            listener.row(in_parts(result, rows))
    for listener, result in reversed(list(zip(each, results, strict=True))):
        listener.finished(result)
    assert seen.notes == []
    for folder, result in zip(folders, results, strict=True):
        (file,) = (folder / "wandb").glob("offline-run-*/*.wandb")
        expected = [(row, row_metrics(result, row)) for row in range(rows_done(result))]
        assert logged.pop(file.stem.removeprefix("run-")) == expected
    assert not logged


def test_unknown_writers_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="unknown writer 'tensorbord'; did you mean 'tensorboard'"):
        writers("csv,tensorbord", tmp_path)
