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


def test_wandb_gets_the_rows_without_a_network(
    result: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    logged: list[tuple[int, dict[str, float]]] = []
    log = wandb.sdk.wandb_run.Run.log

    def spy(run: Any, data: dict[str, float], step: int) -> None:
        logged.append((step, data))
        log(run, data, step=step)

    monkeypatch.setattr(wandb.sdk.wandb_run.Run, "log", spy)
    listener = AlsoListener(Listener(), writers("wandb", tmp_path))
    listener.row(in_parts(result, 2))
    listener.finished(result)
    assert logged == [(row, row_metrics(result, row)) for row in range(rows_done(result))]
    assert list((tmp_path / "wandb").glob("offline-run-*/*.wandb"))


def test_unknown_writers_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="unknown writer 'tensorbord'; did you mean 'tensorboard'"):
        writers("csv,tensorbord", tmp_path)
