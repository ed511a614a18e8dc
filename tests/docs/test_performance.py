"""docs/performance.md is what was measured: it is not edited by hand, and no target is left out."""

from __future__ import annotations

import pytest

from benchmarks.mammoth import FOLDER, missing
from benchmarks.page import ACCURACY, PAGE, RESULTS, TIMES, render
from clplat.files import read_json

#: A claim of the table of targets: words of its row, and its target.
TARGETS = (
    ("Combiner of 57", ">= 25x"),
    ("Combiner of 4", ">= 150x"),
    ("linear projection", ">= 2,000x"),
    ("LoRA in the last 2 of 12 blocks", ">= 2.2x"),
    ("LoRA on the MLPs of all blocks", ">= 1.15x"),
    ("LoRA on attention and MLPs of all blocks", ">= 1.15x"),
    ("text features of new captions", ">= 5x"),
    ("sweep of 20 trials", ">= 10x"),
    ("R@K, mAP@K and MRR", ">= 15x"),
    ("the 50 best of 123,403", "<= 1.5x"),
    ("step: LoRA in both towers", "<= 1.03x"),
    ("step: combiner on kept features", "<= 1.03x"),
    ("step in a long stream", "<= 1.1x"),
    ("evaluation, a domain", "<= 1.1x"),
    ("tracked in sqlite", "<= 1.02x"),
    ("tracked in a server over HTTP", "<= 1.05x"),
    ("leaderboard", "<= 1.0x"),
    ("sweep by two workers, a core each", ">= 1.6x"),
)


def test_the_page_is_what_was_measured() -> None:
    assert PAGE.read_text(encoding="utf-8") == render(read_json(RESULTS))


@pytest.mark.parametrize(("words", "target"), TARGETS)
def test_every_target_has_a_row(words: str, target: str) -> None:
    modules = read_json(RESULTS)
    rows = [row for name, module in modules.items() if name in TIMES for row in module["rows"]]
    assert any(words in row["what"] and row["target"].startswith(target) for row in rows)


def test_a_row_that_misses_its_target_says_so() -> None:
    row = {"what": "a step", "ratio": 1.5, "target": ">= 2x", "met": False, "peak_mb": None, "note": ""}
    where = {"date": "2026-01-01", "cpu": "a CPU", "cores": 2, "libraries": {"torch": "2"}}
    page = render({"lora": {**where, "rows": [{**row, "ours_seconds": 0.02, "peer_seconds": 0.03}]}})
    assert "| a step | 1.5x | >= 2x | **no** | 20 ms | 30 ms |" in page
    assert "Not met: a step." in page


@pytest.mark.parametrize("stream", ["halves", "classes"])
def test_what_avalanche_has_too_is_as_accurate(stream: str) -> None:
    rows = [row for row in read_json(RESULTS)[ACCURACY[0]]["rows"] if row["stream"] == stream]
    names = {"EWC", "SI", "MAS", "RWalk", "LwF", "Replay", "A-GEM", "DER", "GDumb"}
    assert names | ({"iCaRL"} if stream == "classes" else set()) <= {row["what"] for row in rows}
    assert [row["what"] for row in rows if not row["met"]] == [], "look into it, and say the reason"


@pytest.mark.parametrize("stream", ["halves", "classes"])
def test_what_mammoth_has_too_is_as_accurate(stream: str) -> None:
    rows = [row for row in read_json(RESULTS)[ACCURACY[1]]["rows"] if row["stream"] == stream]
    names = {"online EWC", "SI", "ER", "ER-ACE", "DER", "DER++", "A-GEM", "A-GEM-R", "GSS", "GDumb"}
    of_classes = {"LwF", "X-DER", "X-DER CE", "GEM", "SLCA", "iCaRL", "LUCIR"}
    assert names | (of_classes if stream == "classes" else set()) <= {row["what"] for row in rows}
    assert [row["what"] for row in rows if not row["met"]] == [], "look into it, and say the reason"


def test_what_mammoth_has_on_a_transformer_is_as_accurate() -> None:
    rows = [row for name in ACCURACY[2:] for row in read_json(RESULTS)[name]["rows"]]
    names = {"L2P", "DualPrompt", "CODA-Prompt", "RanPAC", "MoE-Adapters", "ZSCL"}
    assert names <= {row["what"] for row in rows}
    assert [row["what"] for row in rows if not row["met"]] == [], "look into it, and say the reason"


def test_what_is_said_to_be_mammoths_formula_is() -> None:
    rows = read_json(RESULTS)["peers_formulas"]["rows"]
    assert {"L2P", "DualPrompt", "CODA-Prompt", "RanPAC", "ZSCL"} <= {row["what"] for row in rows}
    assert [row["what"] for row in rows if not row["met"]] == []


def test_without_mammoths_code_one_line_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FOLDER, "nowhere")
    said = missing()
    assert said is not None and "git clone" in said and "--mammoth FOLDER" in said and "\n" not in said
