"""Damaged journals: one line that says where and what to do, never another number; and what repairs them."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from clplat.cli import main
from clplat.errors import UserError
from clplat.files import read_json, write_json, write_text
from clplat.locks import locked
from clplat.sweep import Budget, Sweep, read_sweep
from clplat.sweep.layout import Layout
from clplat.sweep.queue import Queue
from clplat.sweep.repair import repair
from clplat.sweep.run import gather, recorded_plan
from clplat.sweep.studies import number_of
from clplat.tuning.journal import open_journal
from clplat.tuning.storage import open_storage

pytestmark = pytest.mark.usefixtures("one_thread")

PLAIN: dict[str, Any] = {
    "base": {
        "scenario": {
            "name": "catalogue",
            "domains": 2,
            "train": 16,
            "queries": 10,
            "gallery": 20,
            "size": 16,
        },
        "train": {"epochs": 1, "batch_size": 8},
    },
    "methods": ["naive"],
    "controls": [],
    "tune": [],
    "space": {"train.lr": [3e-3, 1e-2]},
    "seeds": [0],
    "orders": 1,
    "budget": Budget(trials=4),
    "sampler": "random",
}


def queue_of(out: Path) -> Queue:
    return Queue(Layout(Sweep(**PLAIN)), out, open_storage(None, out))


def ends(queue: Queue) -> Any:
    """Of its trials, what the runs hold too."""
    trials = queue.studies.trials("naive")
    return [(number_of(t), t.state, t.values, t.params, t.constraints) for t in trials]


def state(out: Path) -> Any:
    """What a sweep goes by, of all its trials."""
    storage = open_journal(out / "studies.journal")
    return [
        (study.study_name, t.number, t.state, t.values, t.params, t.user_attrs, t.system_attrs)
        for study in storage.get_all_studies()
        for t in storage.get_all_trials(study._study_id, deepcopy=False)
    ]


@pytest.fixture(scope="module")
def done(
    tmp_path_factory: pytest.TempPathFactory,
    result_of: Callable[..., dict[str, Any]],
    leave: Callable[..., None],
) -> Path:
    """A sweep of trials and final runs that did not train; one of each end."""
    out = tmp_path_factory.mktemp("done")
    queue = queue_of(out)
    (out / "sweep.yaml").write_text(json.dumps(Sweep(**PLAIN).as_dict()))
    for place in range(9):
        job = queue.claim()
        if job is None:
            break
        held = result_of(job.config.as_dict(), 1000 * job.config.train.lr + place)
        if job.folder == "trials/naive/1":
            held = {**held, "status": "failed", "failure": {"error": "the loss is not finite"}}
            queue.failed(job, "the loss is not finite")
        elif job.folder == "trials/naive/2":
            held = {**held, "status": "pruned"}
            queue.pruned(job, held)
        else:
            queue.complete(job, held)
        leave(out / job.folder, held)
    return out


def test_every_flipped_bit_is_told_or_changes_nothing(done: Path, tmp_path: Path) -> None:
    journal = tmp_path / "studies.journal"
    whole, before, dice, told = (done / "studies.journal").read_bytes(), state(done), random.Random(0), 0
    last = whole[:-1].rfind(b"\n") + 1
    for _ in range(150):
        place = dice.randrange(last)
        journal.write_bytes(
            whole[:place] + bytes([whole[place] ^ 1 << dice.randrange(8)]) + whole[place + 1 :]
        )
        try:
            assert state(tmp_path) == before
        except UserError as error:
            told += 1
            line = whole[:place].count(b"\n") + 1
            assert f"{journal}, line {line} is damaged" in str(error) and "\n" not in str(error)
            assert f"clplat sweep --repair --out {tmp_path}" in str(error)
    assert told > 120


def test_journals_of_older_releases_and_other_programs_are_read(done: Path, tmp_path: Path) -> None:
    path = tmp_path / "studies.journal"
    storage = optuna.storages.JournalStorage(JournalFileBackend(str(path)))
    optuna.create_study(study_name="old", storage=storage).enqueue_trial({"x": 1.0})
    assert b'"crc"' not in path.read_bytes()
    study = optuna.load_study(study_name="old", storage=open_journal(path))
    study.tell(study.ask({"x": optuna.distributions.FloatDistribution(0, 2)}), 3.0)
    theirs = optuna.load_study(study_name="old", storage=storage)
    assert theirs.best_params == {"x": 1.0} and theirs.best_value == 3.0
    lines = path.read_bytes().splitlines(keepends=True)
    other = lines[1].replace(b'"op_code":4', b'"op_code":99')
    for place, wrong in ((0, b"\xff" + lines[0][1:]), (1, b"[]\n"), (1, other)):
        path.write_bytes(b"".join([*lines[:place], wrong, *lines[place + 1 :]]))
        with pytest.raises(UserError, match=rf"studies\.journal, line {place + 1} is damaged"):
            open_journal(path)


def test_what_the_runs_hold_is_on_record_again(done: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(done, out)
    before = queue_of(out)
    wanted = ends(before)
    finals = {folder: tries[-1].values for folder, tries in before.studies.final_tries().items()}
    assert repair(out) == [f"{out / 'studies.journal'} is whole; nothing was changed"]
    whole = (out / "studies.journal").read_bytes()
    broken = whole[:300] + b"\xff" + whole[301:]
    (out / "studies.journal").write_bytes(broken)
    with pytest.raises(UserError, match="is damaged"):
        gather(out)
    said = repair(out)
    assert (out / "studies.journal.damaged-1").read_bytes() == broken and "damaged-1" in said[1]
    after = queue_of(out)
    assert ends(after) == wanted
    assert {folder: tries[-1].values for folder, tries in after.studies.final_tries().items()} == finals
    assert "the loss is not finite" in after.studies.trials("naive")[1].user_attrs["why"]
    assert queue_of(out).claim() is None, "nothing is left to do"


def test_numbers_of_trials_stay_and_what_was_running_goes_on(done: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(done, out)
    held = read_json(out / "trials/naive/3/result.json")
    write_json(out / "trials/naive/3/result.json", {**held, "status": "running"})
    shutil.rmtree(out / "trials/naive/0")
    (out / "trials/naive/1/result.json").write_text("{")
    (out / "studies.journal").write_bytes(b"\0" * 100 + b"\n")
    with locked(out / ".workers" / "somebody"), pytest.raises(UserError, match="stop them first"):
        repair(out)
    repair(out)
    queue = queue_of(out)
    assert [(t.number, t.state) for t in queue.studies.trials("naive")] == [
        (2, TrialState.PRUNED),
        (3, TrialState.WAITING),
    ]
    jobs = [job for job in (queue.claim(), queue.claim(), queue.claim()) if job is not None]
    assert [job.folder for job in jobs] == [f"trials/naive/{i}" for i in (3, 4, 5)]
    assert jobs[0].params == {"train.lr": held["config"]["train"]["lr"]}


def test_a_byte_in_the_journal_of_a_finished_sweep(
    done: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Optuna 5138, through our doors; a whole sweep has exit code 2 as well: one of its trials failed."""
    out = tmp_path / "out"
    shutil.copytree(done, out)
    call = ["sweep", "--plan", str(done / "sweep.yaml"), "--no-track", "--out", str(out)]
    assert main(call) == 2 and "not finite" in capsys.readouterr().err
    first, before = read_json(out / "sweep.json"), {p: p.stat().st_mtime_ns for p in out.rglob("result.json")}
    assert len(first["rows"]) == 2 and first["status"] == "complete"
    whole = (out / "studies.journal").read_bytes()
    (out / "studies.journal").write_bytes(whole[:700] + b"\xff" + whole[701:])
    for words in (call, ["report", str(out)]):
        assert main(words) == 2
        said = capsys.readouterr().err
        assert said.count("\n") == 1 and f"{out / 'studies.journal'}, line " in said and "--repair" in said
    assert main(["sweep", "--repair", "--out", str(out)]) == 0
    assert main(call) == 2 and "not finite" in capsys.readouterr().err
    assert read_json(out / "sweep.json") == first
    assert {p: p.stat().st_mtime_ns for p in out.rglob("result.json")} == before


def test_other_files_of_a_sweep_are_told_too(done: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(done, out)
    wanted, whole = ends(queue_of(out)), (out / ".sweep-id").read_bytes()
    (out / ".sweep-id").write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(UserError, match=r"\.sweep-id is damaged"):
        queue_of(out).claim()
    assert ".sweep-id is damaged" in repair(out)[0] and ends(queue_of(out)) == wanted
    write_text(out / "sweep.yaml", (out / "sweep.yaml").read_text(), comment="#")
    recorded_plan(out)
    (out / "sweep.yaml").write_text((out / "sweep.yaml").read_text().replace('"trials": 4', '"trials": 3'))
    for reader in (recorded_plan, gather, repair):
        with pytest.raises(UserError, match=r"sweep\.yaml is damaged"):
            reader(out)
    read_sweep(out / "sweep.yaml")  # as a plan that somebody changed


def test_there_is_nothing_to_repair(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep", "--repair", "--out", str(tmp_path)]) == 2
    assert "there is no sweep with a studies.journal in" in capsys.readouterr().err
    assert main(["sweep", "--repair", "--storage", "grpc://x", "--out", str(tmp_path)]) == 2
    assert "--repair is for the journal in --out" in capsys.readouterr().err
