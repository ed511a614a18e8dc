"""The queue of a sweep without any training: who gets what, what a dead worker leaves, when a budget ends."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clplat.errors import UserError
from clplat.events import Listener
from clplat.sweep import Budget, Sweep
from clplat.sweep.layout import Layout
from clplat.sweep.outcome import collect
from clplat.sweep.queue import DEATHS, Job, Queue
from clplat.sweep.studies import FINALS
from clplat.sweep.worker import Pruned, TrialListener
from clplat.tuning.storage import open_storage

BASE = {
    "scenario": {"name": "catalogue", "domains": 2, "train": 16, "queries": 10, "gallery": 20},
    "train": {"epochs": 1, "batch_size": 8},
}


def sweep(**changes: Any) -> Sweep:
    plain: dict[str, Any] = {
        "base": BASE,
        "methods": ["naive"],
        "tune": ["train.lr"],
        "seeds": [0, 1],
        "orders": 1,
        "budget": Budget(trials=3),
    }
    return Sweep(**{**plain, **changes})


def queue_of(out: Path, session: str = "", **changes: Any) -> Queue:
    return Queue(Layout(sweep(**changes)), out, open_storage(None, out), session)


def result(
    score: float, *, seconds: float = 2.0, flops: float = 1e12, forgetting: float = 1.0
) -> dict[str, Any]:
    return {
        "domains": ["a", "b"],
        "protocol": {"primary": "R@5"},
        "metrics": {"R@5": [[10.0, 10.0], [20.0, 10.0], [score, score]]},
        "scores": [{}, {}, {"forgetting_max": forgetting, "zs_lost": 0.0, "plasticity": 60.0 - score}],
        "cost": {"training_flops": flops, "trainable_parameters": 10},
        "measured": {"train_seconds": seconds, "evaluation_seconds": 0.0},
    }


def finish(queue: Queue, **changes: Any) -> list[Job]:
    """Do everything that is left; a higher rate is better here."""
    done = []
    while (job := queue.claim()) is not None:
        queue.complete(job, result(1000 * job.config.train.lr, **changes))
        done.append(job)
    return done


def test_all_of_it_once_and_tuned_settings_last(tmp_path: Path) -> None:
    queue = queue_of(tmp_path)
    done = finish(queue)
    folders = [job.folder for job in done]
    tuning, finals = folders[:3], folders[3:]
    assert tuning == [f"trials/naive/{i}" for i in range(3)]
    plain = {f"{name}-s{seed}" for name in ("naive", "frozen", "cumulative") for seed in (0, 1)}
    best = max(done[:3], key=lambda job: job.config.train.lr)
    tuned = {"naive-tuned-s0", "naive-tuned-s1"} if best is not done[0] else set()
    assert set(finals) == plain | tuned and len(finals) == len(set(finals))
    assert [job.config.evaluation.split for job in done] == ["val"] * 3 + ["test"] * len(finals)
    assert done[0].params == {"train.lr": 0.001}, "the default setting is the first that is tried"
    for job in done:
        if job.folder in tuned:
            assert job.config.train.lr == best.params["train.lr"]
    assert not queue.has_pending() and queue.claim() is None


def test_a_default_that_stays_best_is_not_run_twice(tmp_path: Path) -> None:
    queue = queue_of(tmp_path)
    while (job := queue.claim()) is not None:
        queue.complete(job, result(50.0 if job.params in ({}, {"train.lr": 0.001}) else 20.0))
    assert not [name for name in queue.studies.final_tries() if "tuned" in name]
    assert queue.studies.tuned_params(queue.layout.studies[0]) is None


def test_workers_share_and_the_dead_give_back(tmp_path: Path) -> None:
    first, second = queue_of(tmp_path, "now"), queue_of(tmp_path, "now")
    one, two = first.claim(), second.claim()
    assert one is not None and two is not None and one.folder != two.folder
    lost = two.params
    del second, two  # as a killed process does: the kernel takes its lock away
    assert first.has_pending()
    first.complete(one, result(30.0))
    again = first.claim()
    assert again is not None
    assert again.folder == "trials/naive/1" and again.params == lost, "its values, its folder, its checkpoint"
    first.complete(again, result(30.0))
    rest = finish(first)
    assert [job.folder for job in rest][:1] == ["trials/naive/3"], "number 2 was the second life of 1"
    assert [trial.state.name for trial in first.studies.trials("naive")] == ["COMPLETE"] * 3


def test_what_kills_its_process_every_time_is_given_up(tmp_path: Path) -> None:
    for _ in range(DEATHS):
        queue = queue_of(tmp_path, "now", methods=["naive"], budget=Budget(), seeds=[0], controls=[])
        job = queue.claim()
        assert job is not None and job.folder == "naive-s0"
        del queue, job
    queue = queue_of(tmp_path, "now", methods=["naive"], budget=Budget(), seeds=[0], controls=[])
    assert queue.claim() is None and not queue.has_pending()
    assert "killed 5 times" in queue.studies.final_tries()["naive-s0"][-1].user_attrs["why"]
    later = queue_of(tmp_path, "later", methods=["naive"], budget=Budget(), seeds=[0], controls=[])
    assert later.claim() is not None, "another call of the command tries again"


def test_a_failure_stops_no_other_run_and_is_tried_again_by_the_next_call(tmp_path: Path) -> None:
    queue = queue_of(tmp_path, "first")
    seen = []
    while (job := queue.claim()) is not None:
        seen.append(job.folder)
        if job.folder == "naive-s1":
            queue.failed(job, "the disk is full")
        else:
            queue.complete(job, result(30.0))
    assert seen.count("naive-s1") == 1 and "cumulative-s1" in seen
    assert queue.studies.final_tries()["naive-s1"][-1].user_attrs["why"] == "the disk is full"
    again = [job.folder for job in finish(queue_of(tmp_path, "second"))]
    assert again == ["naive-s1"]


@pytest.mark.parametrize(
    ("budget", "expected"),
    [
        (Budget(trials=4), 4),
        (Budget(seconds=9.0), 5),  # 2 s each: the fifth begins at 8 s
        (Budget(tflops=3.0), 3),
        (Budget(trials=10, tflops=2.5), 3),
    ],
)
def test_budgets_are_equal_for_every_method(budget: Budget, expected: int, tmp_path: Path) -> None:
    queue = queue_of(tmp_path, methods=["naive", "ewc"], budget=budget, seeds=[0], controls=[])
    finish(queue)
    for entry in queue.layout.studies:
        assert len(queue.studies.trials(entry.key)) == expected


def test_what_never_succeeds_does_not_run_for_ever(tmp_path: Path) -> None:
    queue = queue_of(tmp_path, budget=Budget(seconds=1e9), seeds=[0], controls=[])
    tried = 0
    while (job := queue.claim()) is not None:
        tried += job.kind == "study"
        queue.failed(job, "no")
    assert tried == 10


def test_constraints_keep_what_breaks_them_out_of_the_finals(tmp_path: Path) -> None:
    queue = queue_of(tmp_path, constraints={"forgetting": 5.0, "plasticity": 20.0})
    while (job := queue.claim()) is not None:
        rate = job.config.train.lr
        queue.complete(job, result(1000 * rate, forgetting=9.0 if rate > 0.001 else 1.0))
    best = queue.studies.best("naive")
    trials = queue.studies.trials("naive")
    met = [t for t in trials if t.params["train.lr"] <= 0.001]
    assert best is not None and best.values[0] == max(t.values[0] for t in met)
    assert set(trials[0].constraints) == {"forgetting", "plasticity"}
    assert trials[0].constraints["forgetting"] == -4.0
    # Higher is better: the limit is the least.
    assert trials[0].constraints["plasticity"] == pytest.approx(20.0 - (60.0 - trials[0].values[0]))


def test_several_objectives_keep_a_front(tmp_path: Path) -> None:
    queue = queue_of(tmp_path, objectives=["final", "forgetting"], budget=Budget(trials=6))
    dice = random.Random(0)
    while (job := queue.claim()) is not None:
        queue.complete(job, result(dice.uniform(20, 60), forgetting=dice.uniform(0, 9)))
    study, best = queue.studies.study("naive"), queue.studies.best("naive")
    assert best is not None and best.number in {t.number for t in study.best_trials}
    assert best.values[0] == max(t.values[0] for t in study.get_trials())


@pytest.mark.filterwarnings("error")
def test_options_matter_as_much_with_a_second_objective_that_is_constant(tmp_path: Path) -> None:
    """What raises the first objective is asked for, however many there are; no warning reaches the user."""
    found = []
    for objectives in (["final"], ["final", "seconds"]):
        changes: dict[str, Any] = {"objectives": objectives, "sampler": "random", "budget": Budget(trials=12)}
        space = {"train.lr": {"low": 0.0, "high": 1.0}, "train.epochs": {"low": 1, "high": 9}}
        out = tmp_path / str(len(objectives))
        queue = queue_of(out, tune=[], space=space, controls=[], **changes)
        while (job := queue.claim()) is not None and job.kind == "study":
            queue.complete(job, result(50.0 * job.config.train.lr**4 - job.config.train.epochs % 3))
        found.append(collect(queue.studies, "")["studies"][0]["importances"])
    assert found[0] == found[1] and set(found[0]) == {"train.lr", "train.epochs"}


def test_an_undefined_objective_fails_the_trial_and_says_why(tmp_path: Path) -> None:
    queue = queue_of(tmp_path, objectives=["zero_shot"])
    job = queue.claim()
    assert job is not None
    queue.complete(job, result(30.0))
    trial = queue.studies.trials("naive")[0]
    assert trial.state.name == "FAIL" and "'zero_shot' is undefined" in trial.user_attrs["why"]


def rows_of(*means: float, domains: int = 4) -> dict[str, Any]:
    """A running result with this many rows."""
    held = {**result(0.0), "domains": list("abcdefgh")[:domains]}
    return {**held, "metrics": {"R@5": [[m] * domains for m in means]}, "scores": [{} for _ in means]}


def run_rows(queue: Queue, last: list[float], domains: int = 4) -> int:
    """Tell a new trial its rows one by one; return after how many experiences it was stopped, 0 for never."""
    job = queue.claim()
    assert job is not None and job.kind == "study"
    listener = TrialListener(Listener(), queue, job)
    listener.started(rows_of(10.0, domains=domains))
    for step in range(len(last)):
        try:
            listener.row(rows_of(*[10.0, *last][: step + 2], domains=domains))
        except Pruned:
            queue.pruned(job, listener.result)
            return step + 1
    queue.complete(job, rows_of(10.0, *last, domains=domains))
    return 0


def test_the_worse_half_is_pruned_in_the_middle_of_a_long_stream_and_not_before(tmp_path: Path) -> None:
    queue = queue_of(tmp_path, budget=Budget(trials=20))
    assert run_rows(queue, [20.0, 50.0, 50.0, 50.0]) == 0, "the first has none to be compared with"
    assert run_rows(queue, [5.0, 60.0, 50.0, 50.0]) == 0, "worse at first is no reason"
    assert run_rows(queue, [30.0, 20.0, 90.0, 90.0]) == 2
    trial = queue.studies.trials("naive")[-1]
    assert trial.state.name == "PRUNED" and trial.user_attrs["measures"]["final"] == 20.0
    unpruned = queue_of(tmp_path, budget=Budget(trials=20), pruner="none")
    assert run_rows(unpruned, [30.0, 20.0, 50.0, 50.0]) == 0
    assert run_rows(queue_of(tmp_path / "b", budget=Budget(trials=9)), [9.0, 8.0, 7.0], domains=3) == 0
    several = queue_of(tmp_path / "c", budget=Budget(trials=9), objectives=["final", "seconds"])
    assert [run_rows(several, [v, v, v, v]) for v in (50.0, 40.0, 30.0)] == [0, 0, 0]


def test_another_search_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    finish(queue_of(tmp_path))
    other = queue_of(tmp_path, space={"train.lr": {"low": 1e-4, "high": 1e-3}}, budget=Budget(trials=5))
    with pytest.raises(UserError, match=r"'naive' in .* has another search space"):
        other.claim()
    with pytest.raises(UserError, match="has other constraints"):
        queue_of(tmp_path, constraints={"forgetting": 1.0}, budget=Budget(trials=5)).claim()
    more = queue_of(tmp_path, budget=Budget(trials=5))
    assert len([w for w in finish(more) if w.kind == "study"]) == 2, "more trials of the same search go on"


def test_a_torn_line_of_the_journal_is_cut_off(tmp_path: Path) -> None:
    finish(queue_of(tmp_path))
    journal = tmp_path / "studies.journal"
    whole = journal.read_bytes()
    journal.write_bytes(whole + b'{"op_code": 5, "half a li')
    more = queue_of(tmp_path, budget=Budget(trials=4))
    assert finish(more)[0].folder == "trials/naive/3"
    assert journal.read_bytes().startswith(whole) and b"half a li" not in journal.read_bytes()


@settings(max_examples=15, deadline=None)
@given(st.lists(st.sampled_from(["take", "die", "complete", "fail"]), max_size=40), st.integers(2, 4))
def test_nothing_is_lost_or_doubled_whatever_happens(
    tmp_path_factory: pytest.TempPathFactory, moves: list[str], workers: int
) -> None:
    out = tmp_path_factory.mktemp("random")
    queues = [queue_of(out, "s", seeds=[0]) for _ in range(workers)]
    held: list[Job | None] = [None] * workers
    for turn, move in enumerate(moves):
        i = turn % workers
        job = held[i]
        if move == "take" and job is None:
            held[i] = queues[i].claim()
        elif move == "die":
            held[i] = job = None
            queues[i] = queue_of(out, "s", seeds=[0])
        elif job is not None and move in ("complete", "fail"):
            queues[i].complete(job, result(40.0)) if move == "complete" else queues[i].failed(job, "no")
            held[i] = None
    held.clear()
    queues.clear()
    last = queue_of(out, "s", seeds=[0])
    finish(last)
    trials = last.studies.trials("naive")
    assert len(trials) == 3 and all(t.state.is_finished() for t in trials)
    assert len({t.user_attrs.get("continues", t.number) for t in trials}) == 3
    finals = last.studies.trials(FINALS)
    names = [t.user_attrs["final"] for t in finals if t.state.name == "COMPLETE"]
    failed = {t.user_attrs["final"] for t in finals if t.state.name == "FAIL"}
    assert len(names) == len(set(names)) and not set(names) & failed
    assert {"naive-s0", "frozen-s0", "cumulative-s0"} <= set(names) | failed
