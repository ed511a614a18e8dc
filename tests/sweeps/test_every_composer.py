"""Composers under continual learning: which cells there are, what is read of a run, and the page of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from clplat.config.recipes import recipes
from sweeps import every_composer
from sweeps.ledger.jobs import laid_out
from sweeps.ledger.page import ROOT
from sweeps.under_change import latency as timing
from sweeps.under_change.cells import BLIND, STRATEGIES, cells, named
from sweeps.under_change.latency import latencies
from sweeps.under_change.measured import composition
from sweeps.under_change.page import page, publish, publish_latency, read_entries, read_latency

pytestmark = pytest.mark.usefixtures("one_thread")

# -- which cells ------------------------------------------------------------------------------


def test_every_composer_meets_every_strategy_and_both_kinds_of_towers() -> None:
    found: dict[tuple[str, str], set[str]] = {}
    for cell in cells():
        for name in (cell.composer, *cell.system.same):
            found.setdefault((name, cell.towers), set()).add(cell.strategy)
    every = {*BLIND, *(one.name for one in recipes("composers") if "composer" in one.config)}
    for name in every:
        assert found[name, "trained"] == set(STRATEGIES), name
        assert found[name, "frozen"] in ({"frozen"}, set(STRATEGIES)), name
    assert found["slerp", "frozen"] == {"frozen"}, "nothing to train"
    assert found["tirg", "frozen"] == set(STRATEGIES)


def test_each_cell_is_a_run_of_its_own_beside_the_text_alone_in_the_same_cell() -> None:
    every = {cell.system.name: cell for cell in cells()}
    assert len(every) == len(cells())
    for cell in cells():
        if cell.composer not in BLIND:
            other = every[cell.system.against]
            assert other.composer == "text_only" and other.towers == cell.towers
            assert other.strategy == (cell.strategy if cell.towers == "trained" else "frozen")
    assert every["clip4cir_both, trained, replay"].system.raw["strategy"]["name"] == "alternate,replay"
    assert every["vlm2vec, trained, naive"].system.raw["adapter"]["name"] == "lora", "as its recipe does"
    assert every["clip4cir, frozen, naive"].system.raw["composer"]["hidden"] == 64, "smaller than the towers"


def test_combinations_are_held_out_of_both_streams() -> None:
    catalogue, products = every_composer.STREAMS
    _, finals = laid_out(catalogue, named("tirg")[-1].system, (0, 1))
    assert [(final.seed, final.order) for final in finals] == [(0, 0), (1, 1)]
    assert products.base["scenario"]["unseen"] > 0 and "unseen" not in catalogue.base["scenario"]


def test_a_wrong_name_is_told(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert {cell.composer for cell in named("tirg")} == {"tirg", *BLIND}
    assert every_composer.main(["--systems", "tirgg", "--out", str(tmp_path)]) == 2
    assert "every_composer: unknown composer of the sweep 'tirgg'; did you mean 'tirg'?" in (
        capsys.readouterr().err
    )


# -- what is read of a run --------------------------------------------------------------------


def _result(**changed: Any) -> dict[str, Any]:
    R = [[10.0, 20.0, 30.0], [40.0, 24.0, 28.0], [36.0, 50.0, 40.0], [30.0, 44.0, 60.0]]
    C: list[list[float | None]] = [
        [20.0, None, None, None], [22.0, 30.0, None, None], [20.0, 31.0, 40.0, None], [25.0, 20.0, 40.0, 50.0]
    ]  # fmt: skip
    return {
        "protocol": {"primary": "R@5"},
        "metrics": {"R@5": R},
        "compatibility": {"R@5": C},
        "tags": {"combination=unseen": {"R@5": [[4.0, None, 8.0], [0.0, None, 0.0], [5.0, None, 7.0]]}},
        "baselines": {"text_only": {"R@5": [[1.0, 2.0, 3.0], [3.0, 4.0, 5.0]]}, "image_only": {"R@5": []}},
        **changed,
    }


def test_new_domains_old_indexes_and_held_out_combinations_by_hand() -> None:
    found = composition(_result())
    assert found["untrained"] == 20.0
    assert found["new"] == (24.0 + (28.0 + 40.0) / 2) / 2 and found["new_before"] == 25.0
    assert found["old_index"] == pytest.approx((50.0 + 40.0 + 80.0) / 3)
    assert found["old_index_change"] == pytest.approx((5.0 - 10.0 + 0.0) / 3)
    assert found["held_out"] == 6.0 and found["held_out_before"] == 6.0 and found["shown"] is None
    assert found["text_alone"] == 4.0 and found["picture_alone"] is None


# -- the page ---------------------------------------------------------------------------------


def _entry() -> dict[str, Any]:
    """As of a run of three composers: rows by hand, no model."""
    rows = [
        _row(cell.composer, cell.towers, cell.strategy, place)
        for place, cell in enumerate(named("tirg,slerp,cosmo"))
    ]
    rows[-1] |= {"n": 0, "failed": ["ZeroDivisionError: nothing"]}
    del rows[-1]["score"]
    return {
        "stream": "catalogue", "about": "drawn", "orders": [["a", "b"]], "seeds": [0], "primary": "R@5",
        "versions": {"torch": "2"}, "code": ["c"], "date": "2026-11-30", "rows": rows,
    }  # fmt: skip


def _row(composer: str, towers: str, strategy: str, place: int) -> dict[str, Any]:
    alone = 50.0 if composer == "cosmo" else 10.0
    return {
        "system": f"{composer}, {towers}, {strategy}",
        "composer": composer, "towers": towers, "strategy": strategy, "same": [], "n": 1, "failed": [],
        "missing": 0, "score": {"mean": 30.0 + place, "low": 25.0, "high": 90.0},
        "measures": {"forgetting": {"mean": place / 2}}, "difference": None,
        "more": {**composition(_result()), "shown": 20.0, "shown_before": 11.0, "text_alone": alone},
    }  # fmt: skip


def test_the_page_answers_the_questions_from_the_entries(tmp_path: Path) -> None:
    publish([_entry()], tmp_path)
    publish_latency({"tirg": {"parameters": 1200, "ms": dict.fromkeys(("1", "32"), _MS)}}, tmp_path)
    text = (tmp_path / "docs" / "composers.md").read_text(encoding="utf-8")
    assert text == page(read_entries(tmp_path), read_latency(tmp_path))
    assert "**Which forget?** With frozen towers" in text and "**Combinations that were held out.**" in text
    assert "Of 3 with trained towers: `cosmo`" in text and "| **text only** |" in text
    slerp = next(line for line in text.splitlines() if line.startswith("| `slerp` |"))
    assert slerp.split("|")[3].strip() == "–", "no strategy trains what has no weights behind frozen towers"
    assert " †" not in slerp and " †" in next(x for x in text.splitlines() if x.startswith("| `cosmo` |"))
    assert "ZeroDivisionError" in text and "| `tirg` | 1,200 | 0.50 | 7.0 | 1.40 |" in text
    assert (tmp_path / "docs" / "images" / "composers-catalogue-trained.png").stat().st_size < 60_000


_MS = {"composer": 0.5, "query": 7.0, "ratio": 1.4}


def test_a_query_is_timed_alone_and_from_pixels_on(
    small_backbone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timing, "ROUNDS", 1)
    monkeypatch.setattr(timing, "_DATA", timing._DATA | {"size": 16})
    found = latencies([cell for cell in named("") if cell.composer == "tirg"], {
        "backbone": f"local-dir:{small_backbone}"
    })  # fmt: skip
    one = found["tirg"]["ms"]["32"]
    assert found["tirg"]["parameters"] > 0 and min(one["composer"], one["query"], one["ratio"]) > 0


def test_the_page_is_what_was_measured() -> None:
    again = "run `python sweeps/every_composer.py --page`"
    text = (ROOT / "docs" / "composers.md").read_text(encoding="utf-8")
    assert text == page(read_entries(), read_latency()), again
