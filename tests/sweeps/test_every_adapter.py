"""Adapters by budget: which there are, which size meets a budget, equal operations, and the page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from clplat import registry
from clplat.config.recipes import recipes
from sweeps import every_adapter
from sweeps.by_budget import operations
from sweeps.by_budget.cells import (
    FAMILIES,
    FROZEN,
    MIDDLE,
    REFERENCE,
    Cell,
    Source,
    cells_of,
    named,
    rows_of,
    sources,
)
from sweeps.by_budget.latency import latencies
from sweeps.by_budget.operations import at_equal_flops
from sweeps.by_budget.page import page, publish, publish_latency, read_entries, read_latency
from sweeps.by_budget.reading import lines_of
from sweeps.by_budget.search import nearest
from sweeps.by_budget.sizes import BUDGETS, NEAR, Counted, Point, scaled
from sweeps.ledger.jobs import Stream
from sweeps.ledger.page import ROOT
from sweeps.ledger.systems import System
from sweeps.under_change import latency as timing

pytestmark = pytest.mark.usefixtures("one_thread")

# -- which there are --------------------------------------------------------------------------


def test_every_part_and_every_recipe_of_the_families_is_there() -> None:
    every = {one.name: one for one in sources()}
    assert [*every][:2] == [FROZEN, REFERENCE] and len(every) == len(sources())
    for kind in FAMILIES:
        slot = kind.removesuffix("s")
        assert {f"{slot} {name}" for name in registry.names(kind)} <= every.keys()
        assert {one.name for one in recipes(kind)} <= every.keys()
    trained = {one.raw["strategy"]["name"] for one in every.values() if one.name != FROZEN}
    assert trained <= {"naive", "frozen"}
    assert every["maple"].family == "prompts" and not every["maple"].mergeable
    assert every["lora"].mergeable and not every["unipt"].mergeable


def test_a_wrong_name_is_told(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert [one.name for one in named("maple")] == [FROZEN, REFERENCE, "maple"]
    assert every_adapter.main(["--systems", "mapel", "--out", str(tmp_path)]) == 2
    assert "every_adapter: unknown adapter or prompt" in capsys.readouterr().err


# -- sizes ------------------------------------------------------------------------------------


def test_the_nearest_size_is_found_where_counts_rise_fall_or_are_refused() -> None:
    def slowly(count: Any, goal: float, sizes: range) -> int:
        known = {size: found for size in sizes if (found := count(size))}
        return min(known, key=lambda size: (abs(max(known[size], goal) / min(known[size], goal)), size))

    forms: dict[str, Any] = {
        "linear": lambda size: 40 + 96 * size,
        "falls": lambda size: 56064 * 16 // size,
        "squares": lambda size: 7 * size * size,
        "saturates": lambda size: 96 * min(size, 48),
    }
    for name, count in forms.items():
        for goal in (900.0, 3000.0, 9000.0):
            best = nearest(count, 8, goal)
            assert best and count(best) == count(slowly(count, goal, range(1, 4097))), (name, goal)
    assert nearest(lambda size: 64 * size if size in (4, 8, 16, 32) else None, 8, 1900.0) == 32
    assert nearest(lambda size: 5, 8, 100.0) is None and nearest(lambda size: None, 8, 100.0) is None


def test_a_rank_takes_its_alpha_along_unless_the_scale_is_of_another_form() -> None:
    raw = {"adapter": {"name": "lora", "r": 4, "lora_alpha": 16, "targets": ["q_proj"]}}
    assert scaled(raw, "adapter.r", 6)["adapter"] == {**raw["adapter"], "r": 6, "lora_alpha": 24}
    assert scaled({"adapter": {"name": "rslora"}}, "adapter.r", 6)["adapter"] == {"name": "rslora", "r": 6}
    assert scaled({"prompt": {"name": "deep"}}, "prompt.length", 5)["prompt"] == {"name": "deep", "length": 5}


def test_sizes_meet_budgets_on_the_model_and_are_kept(small_backbone: Path, tmp_path: Path) -> None:
    base = {"backbone": f"local-dir:{small_backbone}"}
    kept = tmp_path / "sizes.json"
    counted = Counted(base, kept)
    wanted = {"lora": "adapter.r", "unipt": "adapter.rank", "wider": "adapter.units"}
    for name, option in wanted.items():
        points = counted.points({"adapter": {"name": name}})
        assert points and set(points) <= set(BUDGETS), name
        for budget, point in points.items():
            assert budget is not None and point.option == option
            assert 1 / NEAR <= point.trained / (budget * counted.weights) <= NEAR
            assert counted.trained(point.raw) == point.trained
    raw = {"adapter": {"name": "lora", "last": 1}}
    size = next(iter(counted.points(raw).values())).value
    for other in (1, 2, 3, 5, 9):
        a, b = (counted.trained(scaled(raw, "adapter.r", r)) for r in (other, other + 1))
        assert a < b, "what is searched for rises with the rank"
    assert size is not None
    only = counted.points({"adapter": {"name": "none"}, "prompt": {"name": "context"}})
    assert only[None].option == "" and only[None].trained == 4 * 32
    again = Counted(base, kept)
    again.trained = lambda raw: 1 / 0  # type: ignore[method-assign, assignment, return-value]
    assert again.points({"adapter": {"name": "unipt"}}) == counted.points({"adapter": {"name": "unipt"}})


# -- cells ------------------------------------------------------------------------------------


def _stream(backbone: Path) -> Stream:
    one = every_adapter.STREAMS[0]
    return replace(one, base={**one.base, "backbone": f"local-dir:{backbone}"})


def test_cells_stand_beside_lora_of_their_budget_and_the_same_is_run_once(small_backbone: Path) -> None:
    twice = Source("again", "adapters", next(one.raw for one in sources() if one.name == REFERENCE), True)
    found = cells_of([*named("unipt,coop"), twice], _stream(small_backbone))
    every = {cell.system.name: cell for cell in found}
    assert len(every) == len(found) and found[0].source.name == FROZEN and found[0].point.trained == 0
    assert every[f"{REFERENCE}, 3 %"].system.same == ("again",)
    assert every["unipt, 10 %"].system.against == f"{REFERENCE}, 10 %"
    assert every["coop"].budget is None and every["coop"].system.against == f"{REFERENCE}, 3 %"
    budgets = [cell.budget for cell in found[1:]]
    assert budgets.index(None) > budgets.index(MIDDLE) and budgets[-1] == BUDGETS[-1], "the middle one first"
    assert every["coop"].system.trains == "prompts" and every["unipt, 3 %"].system.trains == "low rank"
    rows = list(rows_of(found, [{} for _ in found]))
    assert {"source", "budget", "option", "value", "trained", "share", "mergeable"} <= rows[0].keys()


def _cell(name: str, budget: float | None, trained: int = 100) -> Cell:
    source = Source(name, "adapters", {}, False)
    label = name if budget is None else f"{name}, {100 * budget:g} %"
    raw = {"adapter": {"name": "lora"}, "strategy": {"name": "naive"}}
    system = System(label, "recipe", raw, "", "adapters")
    return Cell(source, budget, Point(raw, trained), 0.03, False, system)


def test_epochs_pay_for_as_many_operations_as_lora(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    spent = {
        f"{REFERENCE}, 3 %": 30.0,
        "same, 3 %": 28.0,
        "twice": 60.0,
        "kept, 3 %": 0.01,
        "half, 3 %": 14.0,
    }
    monkeypatch.setattr(operations, "_flops", lambda cell, *where: spent.get(cell.system.name))
    cells = [
        _cell(REFERENCE, MIDDLE), _cell("same", MIDDLE), _cell("twice", None), _cell("kept", MIDDLE),
        _cell("half", MIDDLE), _cell("half", 0.1), _cell("waits", MIDDLE), _cell("none", None, 0),
    ]  # fmt: skip
    stream = every_adapter.STREAMS[0]
    epochs = stream.base["train"]["epochs"]
    found = at_equal_flops(cells, stream, 0, tmp_path)
    asked = {cell.source.name: cell.system.raw["train"]["epochs"] for cell in found}
    assert asked == {"twice": round(epochs / 2), "kept": 10 * epochs, "half": round(epochs * 30 / 14)}
    assert all(cell.flops and cell.system.name.endswith("equal FLOPs") for cell in found)
    del spent[f"{REFERENCE}, 3 %"]
    assert at_equal_flops(cells, stream, 0, tmp_path) == [], "the reference has not run"


# -- the page ---------------------------------------------------------------------------------


def _row(name: str, budget: float | None, score: float, kept: float | None, **more: Any) -> dict[str, Any]:
    share = budget or 0.002
    return {
        "system": f"{name}, {budget}, {more.get('epochs')}",
        "source": name, "family": "adapters", "budget": budget, "same": [], "n": 1,
        "option": "adapter.r" if budget else "", "value": 4 if budget else None, "share": share,
        "trained": 1000 * share, "equal_flops": False, "mergeable": name != "side", "epochs": None,
        "failed": [], "missing": 0, "score": {"mean": score, "low": 1.0, "high": 90.0},
        "measures": {"zero_shot": None if kept is None else {"mean": kept}},
        "costs": {"training_flops": 1e9 if name != "side" else 1e7}, **more,
    }  # fmt: skip


def _entry() -> Mapping[str, Any]:
    rows = [
        _row(FROZEN, None, 20.0, 100.0, family="", trained=0, share=0.0),
        *(_row(REFERENCE, budget, 30.0 + 100 * budget, 90.0 - 100 * budget) for budget in BUDGETS),
        _row("side", MIDDLE, 36.0, 99.0),
        _row("side", MIDDLE, 40.0, 97.0, equal_flops=True, epochs=30),
        _row("tiny", None, 31.0, None),
        {**_row("gone", MIDDLE, 1.0, 1.0), "n": 0, "failed": ["ValueError: no"]},
    ]
    del rows[-1]["score"]
    return {
        "stream": "catalogue", "about": "drawn", "base": {"scenario": {"train": 96}}, "seeds": [0],
        "primary": "R@5", "versions": {"torch": "2"}, "code": ["c"], "of": 60, "rows": rows,
    }  # fmt: skip


def test_the_page_answers_from_the_entries(tmp_path: Path) -> None:
    publish([dict(_entry())], tmp_path)
    times = {FROZEN: 4.0, REFERENCE: 6.0, "side": 5.0, "tiny": 4.1}
    found = {name: {"ms": ms, "ratio": ms / 4.0, "trained": 1} for name, ms in times.items()}
    publish_latency(found, tmp_path)
    text = (tmp_path / "docs" / "adapters.md").read_text(encoding="utf-8")
    assert text == page(read_entries(tmp_path), read_latency(tmp_path))
    assert "**Not complete**: 4 of 60" in text and "- gone, 0.03, None: ValueError: no" in text
    assert "At 3 %: side (36.0, 99 % kept), adapter lora (33.0, 87 % kept); LoRA 33.0" in text
    assert "not below LoRA side keeps most, 99 %" in text
    assert "Nothing smaller is better than: tiny at 0.2 % (31.0), side at 3 % (36.0), adapter lora" in text
    assert "With as many as LoRA at 3 %: side (40.0" in text and "with its epochs: side." in text
    assert "adapter lora, takes 1.50 times" in text
    line = next(line for line in text.splitlines() if line.startswith("| `side` |"))
    cells = [cell.strip() for cell in line.split("|")[1:-1]]
    scores = ["–", "36.0 (99)", "–", "–", "40.0 (97), 30 epochs"]
    assert cells == ["`side`", "r –/4/–", *scores, "0.01", "1.25", "no", "1"]
    for measure in ("recall", "retention"):
        assert (tmp_path / "docs" / "images" / f"adapters-catalogue-{measure}.png").stat().st_size < 60_000


def test_lines_are_best_first() -> None:
    lines = lines_of(_entry())
    assert [line.name for line in lines] == [REFERENCE, "side", "tiny", FROZEN]
    paid = lines[1].paid
    assert paid is not None and paid["epochs"] == 30 and lines[2].paid is lines[2].middle


def test_a_query_is_timed_beside_the_bare_model(
    small_backbone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timing, "ROUNDS", 1)
    monkeypatch.setattr(timing, "_DATA", timing._DATA | {"size": 16})
    found = latencies(
        cells_of(named("coop"), _stream(small_backbone)), {"backbone": f"local-dir:{small_backbone}"}
    )
    assert set(found) == {FROZEN, REFERENCE, "coop"}
    assert all(min(one["ms"], one["ratio"]) > 0 for one in found.values())


def test_the_page_is_what_was_measured() -> None:
    again = "run `python sweeps/every_adapter.py --page`"
    text = (ROOT / "docs" / "adapters.md").read_text(encoding="utf-8")
    assert text == page(read_entries(), read_latency()), again
