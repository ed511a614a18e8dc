"""Optuna over annotated search spaces: what is searched, what a killed trial becomes, what stands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from clplat.errors import UserError
from clplat.space import Choice, Float, Int
from clplat.tuning import study as module
from clplat.tuning.study import suggest, tune

TINY = {
    "scenario": {"name": "catalogue", "domains": 2, "train": 32, "queries": 20, "gallery": 20},
    "train": {"epochs": 1, "batch_size": 32},
}


def optuna_study(out: Path) -> Any:
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    storage = JournalStorage(JournalFileBackend(str(out / "study.journal")))
    return optuna.load_study(study_name="catalogue/naive", storage=storage)


def test_suggest_stays_in_the_annotated_space() -> None:
    import optuna

    sampled = optuna.create_study()
    for _ in range(20):
        trial = sampled.ask()
        assert 1e-4 <= suggest(trial, "lr", Float(1e-4, 1e-2, log=True)) <= 1e-2
        assert 2 <= suggest(trial, "r", Int(2, 8)) <= 8
        assert suggest(trial, "kind", Choice("a", "b")) in ("a", "b")
        sampled.tell(trial, 0.0)


def test_a_slot_without_a_space_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"'projection' has no annotated search space .*train.lr"):
        tune(TINY, ["projection"], 1, tmp_path, track=False)


def test_a_study_goes_on_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = tune(TINY, ["train.lr"], 1, tmp_path, track=False)
    assert first.trials == 1 and set(first.best) == {"train.lr"}
    trial = json.loads((tmp_path / "trial-0" / "result.json").read_text())
    best = json.loads((tmp_path / "best" / "result.json").read_text())
    assert trial["protocol"]["split"] == "val" and best["protocol"]["split"] == "test"
    assert best["config"]["train"]["lr"] == first.best["train.lr"]

    # A process that was killed in the middle of trial 1 leaves it RUNNING, with its checkpoint on disk.
    study = optuna_study(tmp_path)
    dead = study.ask()
    dead.set_user_attr("pid", 2**22 + 1)
    value = suggest(dead, "train.lr", Float(1e-5, 1e-2, log=True))

    seen: list[tuple[str, float]] = []
    real = module.run

    def spy(config: Any, out: Path, **rest: Any) -> Any:
        seen.append((Path(out).name, config["train"]["lr"]))
        return real(config, out, **rest)

    monkeypatch.setattr(module, "run", spy)
    second = tune(TINY, ["train.lr"], 2, tmp_path, track=False)
    assert seen[0] == ("trial-1", value), "the killed trial goes on with its values and its folder"
    states = [t.state.name for t in optuna_study(tmp_path).trials]
    assert states.count("COMPLETE") == 2 and states.count("FAIL") == 1
    assert second.value == max(t.value for t in optuna_study(tmp_path).trials if t.value is not None)
