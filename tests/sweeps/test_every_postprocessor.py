"""Post-processors behind a stream: which are run, what is read of a run, and the page of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sweeps import every_postprocessor
from sweeps.ledger.page import ROOT
from sweeps.under_change.processors import MODELS, processing, processors
from sweeps.under_change.processors_page import page, publish, read_entries


def test_every_post_processor_is_behind_both_models() -> None:
    names = {one.name for one in processors()}
    for recipe in ("qb_norm", "cliprerank", "tip_adapter", "gr_clip"):
        assert {f"{recipe}, {model}" for model in MODELS} <= names
    assert not {name for name in names if name.startswith(("er,", "tirg,"))}
    assert [one.name for one in every_postprocessor.chosen("baleen")] == ["baleen, frozen", "baleen, naive"]


def test_a_wrong_name_is_told(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert every_postprocessor.main(["--systems", "balen", "--out", str(tmp_path)]) == 2
    assert "every_postprocessor: unknown post-processor" in capsys.readouterr().err


def _result(what: str, **held: Any) -> dict[str, Any]:
    return {
        "protocol": {"primary": "R@5", "split": "val"},
        "compatibility": {"R@5": [[20.0, None, None], [22.0, 30.0, None], [25.0, 20.0, 40.0]]},
        "sets": {f"val/{what}": {"gain": {"R@5": [[1.0, None], [2.0, 5.0]]}, **held}},
        "measured": {"rerank_ms_per_query": 3.5},
    }


def test_gains_hubs_and_calls_by_hand() -> None:
    C = [[21.0, None, None], [22.0, 30.0, None], [28.0, 21.0, 41.0]]
    found = processing(_result("processed", compatibility={"R@5": C}, crowding={"hubness": [3.0, 1.5]}))
    assert (found["gain"], found["gain_before"], found["gain_old"]) == (3.5, 1.0, 2.0)
    assert (found["hubness"], found["hubness_after"], found["calls"]) == (3.0, 1.5, None)
    cost = {"ceiling": 80.0, "pairs": 100, "queries": 10}
    found = processing(_result("reranked", cost=cost))
    assert (found["ceiling"], found["calls"], found["ms"]) == (80.0, 10.0, 3.5)
    assert found["gain_old"] is None and found["hubness"] is None


def test_the_page_says_who_gains(tmp_path: Path) -> None:
    rows = [
        {
            "system": one.name, "family": one.family, "n": 1, "missing": 0, "failed": [],
            "score": {"mean": 40.0}, "more": {**processing(_result("reranked")), "gain": place - 1.0},
        }
        for place, one in enumerate(every_postprocessor.chosen("baleen,comclip"))
    ]  # fmt: skip
    rows.append({"system": "dbnorm, naive", "n": 0, "missing": 1, "failed": ["UserError: no"]})
    entry = {
        "stream": "catalogue", "about": "drawn", "seeds": [0], "primary": "R@5", "versions": {"torch": "2"},
        "code": ["c"],
        "rows": rows,
    }  # fmt: skip
    publish([entry], tmp_path)
    text = (tmp_path / "docs" / "post-processing.md").read_text(encoding="utf-8")
    assert text == page(read_entries(tmp_path))
    assert "as it came 1 of 2 gain, most `comclip` (+1.0). Behind the model after the stream 1 of 2" in text
    assert "| `comclip` | reranking | 40.0 | +1.0 | 40.0 | +2.0 | – |" in text
    assert "- `dbnorm, naive`: UserError: no" in text and "**Not yet run**: `dbnorm, naive`." in text


def test_the_page_is_what_was_measured() -> None:
    again = "run `python sweeps/every_postprocessor.py --page`"
    text = (ROOT / "docs" / "post-processing.md").read_text(encoding="utf-8")
    assert text == page(read_entries()), again
