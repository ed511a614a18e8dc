"""Which rows are compared with which, and what the sentence says of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from clplat.evaluation.significance import Replicate
from clplat.sweep import Sweep
from clplat.sweep.comparisons import UNTRAINED, comparisons, sentence
from clplat.sweep.rows import Row
from clplat.sweep.run import gather, run_sweep
from clplat.trees import save_tree


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
    assert said.startswith("good (tuned) is the best of 3 methods")
    assert "significantly above all others (Holm, 5 %)" in said
    assert "Tuning significantly helped good (tuned)" in said


def test_another_split_than_test_is_said() -> None:
    rows = [row("a", 0.7), row("b", 0.5)]
    assert "Measured" not in sentence([r.plain for r in rows], comparisons(rows))
    plain = [r.plain | {"split": "val"} for r in rows]
    assert sentence(plain, comparisons(rows)).endswith(". Measured on val, not on test.")


def test_what_may_be_chance_is_no_win() -> None:
    rows = [row("a", 0.501), row("b", 0.5)]
    said = sentence([r.plain for r in rows], comparisons(rows))
    assert said.startswith("a and b are indistinguishable (Holm, 5 %); a has the highest mean, 4")
    assert "best" not in said and "significantly above" not in said


def test_pairs_are_grouped() -> None:
    """Ten pairs in one line: three that are alike, above two that are alike."""
    rows = [row(name, level) for name, level in zip("abcde", (0.8, 0.799, 0.798, 0.5, 0.499), strict=True)]
    said = sentence([r.plain for r in rows], comparisons(rows))
    assert said.startswith("a, b and c are indistinguishable (Holm, 5 %); a has the highest mean, ")
    assert said.endswith("; all above d and e.")


def test_differences_that_are_not_those_of_all() -> None:
    rows = [row(name, level).plain for name, level in zip("abc", (0.6, 0.55, 0.5), strict=True)]
    pair = {"group": "", "family": "contenders", "p_holm": 0.01}
    found = [{**pair, "a": a, "b": b, "real": (a, b) == ("a", "c")} for a, b in ("ab", "ac", "bc")]
    assert "a and b are indistinguishable" in sentence(rows, found)
    assert sentence(rows, found).endswith("; a above c.")


def test_the_untrained_model_is_compared_with() -> None:
    better, same = row("better", 0.7), row("same", 0.5)
    for one in (better, same):
        one.untrained.update(row("frozen", 0.5).replicates)
    found = [c for c in comparisons([better, same]) if c["family"] == "untrained"]
    assert [(c["a"], c["b"], c["real"]) for c in found] == [
        ("better", UNTRAINED, True),
        ("same", UNTRAINED, False),
    ]
    said = sentence([better.plain, same.plain], comparisons([better, same]))
    assert "Above the untrained model: better; not significantly: same" in said
    assert "No method is significantly above the untrained model" in sentence(
        [same.plain], comparisons([same])
    )


def test_the_distance_to_the_bound_is_said() -> None:
    bound = row("cumulative", 0.8, kind="control")
    bound.plain["bound"] = True
    said = sentence([bound.plain, row("a", 0.5).plain], [])
    assert "below the bound (cumulative)" in said


def test_only_shared_replicates_are_compared_and_groups_apart() -> None:
    rows = [row("a", 0.6, group="x"), row("b", 0.5, group="x", seeds=2), row("a", 0.6, group="y")]
    found = comparisons(rows)
    assert [(c["group"], c["n"]) for c in found] == [("x", 2)]
    said = sentence([r.plain for r in rows], found)
    assert (
        "; a has the highest mean" in said
        and said.startswith("In x: a and b are")
        and "In y: a reaches" in said
    )


def test_one_seed_says_so() -> None:
    rows = [row("a", 0.7, seeds=1), row("b", 0.5, seeds=1)]
    assert [(c["p_holm"] < 0.01, c["real"]) for c in comparisons(rows)] == [(True, False)]
    assert "not the luck of training" in sentence([r.plain for r in rows], comparisons(rows))
    alone = [row("frozen", 0.5, kind="control")]
    assert "only controls" in sentence([r.plain for r in alone], comparisons(alone))


def luck(spreads: list[float], draw: np.random.Generator, seeds: int = 3) -> list[Row]:
    """Rows of equal methods of these spreads, in points, on queries of their own."""
    rows = []
    for number, spread in enumerate(spreads):
        level = 0.5 + spread / 100 * draw.normal(size=seeds)
        made = row(f"m{number}", 0.5, seeds=seeds)
        values = [{d: 100.0 * (draw.random(2000) < level[s]) for d in "ab"} for s in range(seeds)]
        made.replicates = {(s, 0): Replicate(values[s], f"queries {s}") for s in range(seeds)}
        made.plain["score"]["mean"] = float(np.mean([one.score for one in made.replicates.values()]))
        rows.append(made)
    return rows


def alarmed(rows: list[Row]) -> bool:
    return any(entry["real"] for entry in comparisons(rows))


def test_sweeps_of_equal_methods_raise_few_alarms() -> None:
    draw = np.random.default_rng(1)
    alarms = sum(alarmed(luck([2.0, 2.0, 12.0], draw)) for _ in range(60))
    assert alarms <= 9, "of 60 at 5 %: more once in a thousand times"


@pytest.mark.slow
@pytest.mark.parametrize("spreads", [[2.0, 2.0, 12.0], [2.0, 2.0, 2.0, 16.0], [1.0] * 4 + [8.0]], ids=str)
@pytest.mark.parametrize("seeds", [2, 3])
def test_sweeps_with_a_noisy_method_raise_at_most_five_in_a_hundred(spreads: list[float], seeds: int) -> None:
    draw = np.random.default_rng(2)
    alarms = sum(alarmed(luck(spreads, draw, seeds)) for _ in range(1000))
    assert alarms <= 71, "of 1,000 at 5 %: more once in a thousand times"


@pytest.mark.slow
def test_a_whole_sweep_of_equal_methods_raises_few_alarms(small_backbone: Path, tmp_path: Path) -> None:
    """The folders of a real sweep, in which what the queries of each run measured is drawn anew."""
    sizes = {"domains": 2, "train": 16, "queries": 10, "gallery": 20, "size": 16}
    base = {
        "scenario": {"name": "catalogue", **sizes},
        "backbone": f"local-dir:{small_backbone}",
        "train": {"epochs": 1, "batch_size": 8},
    }
    methods = ["naive", "ewc", "replay"]
    plan = Sweep(name="luck", base=base, methods=methods, controls=[], seeds=[0, 1, 2], orders=1)
    outcome = run_sweep(plan, tmp_path, command="a test")
    folders = {row["method"]: row["folders"] for row in outcome["rows"]}
    draw, alarms = np.random.default_rng(3), 0
    for _ in range(60):
        for made, method in zip(luck([2.0, 2.0, 12.0], draw), methods, strict=True):
            for folder, one in zip(folders[method], made.replicates.values(), strict=True):
                values = {d: torch.from_numpy(v / 100.0) for d, v in one.values.items()}
                for version in (0, 2):  # before training, and at the end
                    save_tree(tmp_path / folder / "values" / f"{version}.safetensors", values)
        found = [c for c in gather(tmp_path)["comparisons"] if c["family"] == "contenders"]
        alarms += any(c["real"] for c in found)
    assert len(found) == 3 and alarms <= 9, "of 60 at 5 %: more once in a thousand times"
