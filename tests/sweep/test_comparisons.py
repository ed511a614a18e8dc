"""Which rows are compared with which, and what the sentence says of it."""

from __future__ import annotations

import numpy as np

from clplat.evaluation.significance import Replicate
from clplat.sweep.comparisons import comparisons, sentence
from clplat.sweep.rows import Row


def row(method: str, level: float, *, kind: str = "default", group: str = "", seeds: int = 3) -> Row:
    """Queries that are met with probability ``level``; the same luck for all rows of a seed."""
    replicates = {}
    for seed in range(seeds):
        luck = np.random.default_rng(seed).random((2, 400))
        values = {name: 100.0 * (luck[i] < level) for i, name in enumerate("ab")}
        replicates[seed, 0] = Replicate(values, f"queries {seed}")
    mean = float(np.mean([r.score for r in replicates.values()]))
    label = f"{method} (tuned)" if kind == "tuned" else method
    score = {"mean": mean, "sd": 1.0, "low": mean - 2, "high": mean + 2}
    plain = {"group": group, "method": method, "label": label, "kind": kind, "n": seeds, "score": score}
    return Row(plain, replicates)


def test_a_tuned_row_stands_for_its_method_and_controls_for_nothing() -> None:
    rows = [
        row("good", 0.7, kind="tuned"),
        row("frozen", 0.65, kind="control"),
        row("good", 0.5),
        row("weak", 0.5),
        row("weaker", 0.499),
    ]
    found = comparisons(rows)
    families = {(c["family"], c["a"], c["b"]): c for c in found}
    assert set(families) == {
        ("contenders", "good (tuned)", "weak"),
        ("contenders", "good (tuned)", "weaker"),
        ("contenders", "weak", "weaker"),
        ("tuning", "good (tuned)", "good"),
    }
    assert families["contenders", "good (tuned)", "weak"]["real"]
    assert not families["contenders", "weak", "weaker"]["real"]
    for entry in found:
        assert entry["p"] <= entry["p_holm"] <= 1 and entry["low"] <= entry["difference"] <= entry["high"]
        assert entry["difference"] >= 0, "the better one first"
    said = sentence([r.plain for r in rows], found)
    assert said.startswith("good (tuned) has the best mean of 3 methods")
    assert "significantly better (Holm, 5 %) than weak and weaker" in said
    assert "Tuning significantly helped good (tuned)" in said


def test_what_may_be_chance_is_called_so() -> None:
    rows = [row("a", 0.501), row("b", 0.5)]
    said = sentence([r.plain for r in rows], comparisons(rows))
    assert "its lead over b may be chance" in said and "significant" not in said


def test_only_shared_replicates_are_compared_and_groups_apart() -> None:
    rows = [row("a", 0.6, group="x"), row("b", 0.5, group="x", seeds=2), row("a", 0.6, group="y")]
    found = comparisons(rows)
    assert [(c["group"], c["n"]) for c in found] == [("x", 2)]
    said = sentence([r.plain for r in rows], found)
    assert "In x: a has" in said and "In y: a reaches" in said


def test_one_seed_says_so() -> None:
    rows = [row("a", 0.7, seeds=1), row("b", 0.5, seeds=1)]
    assert [(c["p_holm"] < 0.01, c["real"]) for c in comparisons(rows)] == [(True, False)]
    assert "not the luck of training" in sentence([r.plain for r in rows], comparisons(rows))
    alone = [row("frozen", 0.5, kind="control")]
    assert "only controls" in sentence([r.plain for r in alone], comparisons(alone))
