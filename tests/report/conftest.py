"""Sweeps as the sweep code leaves them behind: `sweep.json` beside run folders with synthetic results."""

from __future__ import annotations

import importlib.util
import json
import random
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from clplat.measures import MEASURES, evaluate_measures

Outcome = dict[str, Any]
FIVE = ("dress-studio", "top-sketch", "shoe-textured", "bag-dark", "coat-cluttered")


def _synthetic() -> Callable[..., dict[str, Any]]:
    """The maker of results that the tracking tests use."""
    path = Path(__file__).parents[1] / "tracking" / "conftest.py"
    spec = importlib.util.spec_from_file_location("tracking_conftest", path)
    assert spec is not None and spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)  # its dataclasses look there
    spec.loader.exec_module(module)
    maker: Callable[..., dict[str, Any]] = module.synthetic
    return maker


synthetic = _synthetic()


def summary(values: Sequence[float | None]) -> dict[str, float | None] | None:
    known = [value for value in values if value is not None]
    if not known:
        return None
    return {"mean": statistics.fmean(known), "sd": statistics.stdev(known) if len(known) > 1 else None}


def row_of(
    out: Path, strategy: str, kind: str, seeds: Sequence[int], orders: Sequence[Sequence[str]], group: str,
    settings: Mapping[str, Any], label: str, grids: bool,
) -> dict[str, Any]:  # fmt: skip
    """Write the runs of one method and return its row."""
    from PIL import Image

    results, folders = [], []
    for seed in seeds:
        order = list(orders[seed % len(orders)])
        result = synthetic(strategy, seed, domains=order)
        dice = random.Random(f"{label}{group}{seed}")
        lift = (
            dice.gauss(0, 1.2)
            + (2 if kind == "tuned" else 0)
            + 3 * float(settings.get("strategy.size") or 0) ** 0.2
        )
        table = result["metrics"]["R@5"]
        result["metrics"]["R@5"] = [table[0], *[[value + lift for value in line] for line in table[1:]]]
        result["metrics"]["R@1"] = [[0.4 * value for value in line] for line in result["metrics"]["R@5"]]
        result["cost"] |= {
            "trainable_parameters": 0 if strategy == "frozen" else 977952,
            "training_flops": 0 if strategy == "frozen" else int(2.4e12 * dice.uniform(0.8, 1.4)),
            "exemplar_bytes": 2861813 if strategy == "replay" else 0,
            "bytes_per_item": 512,
        }
        for key, value in settings.items():
            slot, _, option = key.partition(".")
            if option:
                result["config"].setdefault(slot, {})[option] = value
        folder = "-".join(filter(None, [f"{len(list(out.iterdir()))}", strategy, f"s{seed}"]))
        (out / folder).mkdir(parents=True)
        (out / folder / "result.json").write_text(json.dumps(result))
        if grids:
            (out / folder / "grids").mkdir()
            for step in (0, len(order)):
                colour = "#888888" if step == 0 else f"#{dice.randrange(1 << 24):06x}"
                Image.new("RGB", (926, 568), colour).save(out / folder / "grids" / f"step_{step}.png")
        results.append(result)
        folders.append(folder)
    numbers = [evaluate_measures(result) for result in results]
    metrics = {"R@1": [statistics.fmean(result["metrics"]["R@1"][-1]) for result in results]}
    finals = [number["final"] for number in numbers]
    mean, sd = statistics.fmean(finals), statistics.stdev(finals) if len(finals) > 1 else None
    reach = 2.5 * (sd or 1.5)
    names = [name for name in MEASURES if name not in ("final", "seen")]
    measures = {"R@1": summary(metrics["R@1"])} | {
        name: summary([n[name] for n in numbers]) for name in names
    }
    forgetting = measures["forgetting"]
    return {
        "group": group, "method": strategy, "label": label, "strategy": strategy, "kind": kind,
        "bound": strategy == "cumulative", "params": {"train.lr": 0.0031} if kind == "tuned" else {},
        "settings": dict(settings), "n": len(seeds),
        "score": {"mean": mean, "sd": sd, "low": mean - reach, "high": mean + reach}, "measures": measures,
        "feasible": None if forgetting is None else bool(forgetting["mean"] <= 5.0), "folders": folders,
    }  # fmt: skip


def study_of(method: str, group: str, trials: int, objectives: Sequence[str]) -> dict[str, Any]:
    """A study with pruned and failed trials among the complete ones."""
    dice, found = random.Random(f"{method}{group}{trials}"), []
    for number in range(trials):
        state = "failed" if number % 17 == 13 else "pruned" if number % 4 == 3 else "complete"
        final, forgetting = dice.gauss(48, 3), abs(dice.gauss(4.5, 2))
        measures = {
            "final": final,
            "forgetting": forgetting,
            "plasticity": dice.gauss(55, 3),
            "stability": final - 2,
        }
        complete = state == "complete"
        found.append({
            "number": number, "state": state,
            "values": [measures[name] for name in objectives] if complete else None,
            "params": {"train.lr": 10 ** dice.uniform(-5, -2), "strategy.size": dice.choice([20, 50])},
            "measures": measures if complete else {},
            "constraints": {"forgetting": forgetting - 5} if complete else {},
            "why": {"pruned": "below the median after 2 domains", "failed": "not finite"}.get(state),
            "folder": f"trials/{method}/{number}",
        })  # fmt: skip
    done = [t for t in found if t["state"] == "complete" and t["constraints"]["forgetting"] <= 0]
    return {
        "group": group, "method": method, "objectives": list(objectives),
        "space": {"train.lr": {"low": 1e-5, "high": 0.01, "log": True}, "strategy.size": [20, 50]},
        "spent": {"trials": trials, "seconds": 31.0 * trials, "tflops": 1.1 * trials},
        "importances": {"train.lr": 0.81, "strategy.size": 0.19} if trials >= 8 else {},
        "best": max(done, key=lambda t: t["values"][0])["number"] if done else None, "trials": found,
    }  # fmt: skip


def sweep(
    out: Path,
    methods: Sequence[tuple[str, str]] = (
        ("replay", "tuned"), ("ewc", "tuned"), ("naive", "tuned"), ("replay", "default"), ("ewc", "default"),
        ("naive", "default"), ("frozen", "control"), ("cumulative", "control"),
    ),
    *,
    seeds: Sequence[int] = (0, 1, 2),
    orders: Sequence[Sequence[str]] = (FIVE,),
    groups: Sequence[str] = ("",),
    settings: Mapping[int, Mapping[str, Any]] | None = None,
    names: Mapping[int, str] | None = None,
    trials: int = 10,
    objectives: Sequence[str] = ("final",),
    grids: bool = False,
    **changes: Any,
) -> Outcome:  # fmt: skip
    """Write a sweep into ``out`` and return its outcome; ``changes`` replace keys of it."""
    out.mkdir(parents=True, exist_ok=True)
    rows, comparisons = [], []
    for group in groups:
        found = [
            row_of(out, strategy, kind, seeds, orders, group, (settings or {}).get(k, {}),
                   (names or {}).get(k, strategy if kind == "control" else f"{strategy} ({kind})"), grids)
            for k, (strategy, kind) in enumerate(methods)
        ]  # fmt: skip
        found.sort(key=lambda row: -row["score"]["mean"])
        rows += found
        contenders = [row for row in found if row["kind"] == "tuned"]
        defaults = {row["strategy"]: row for row in found if row["kind"] == "default"}
        pairs = [("contenders", a, b) for k, a in enumerate(contenders) for b in contenders[k + 1 :]]
        pairs += [("tuning", a, defaults[a["strategy"]]) for a in contenders if a["strategy"] in defaults]
        for family, a, b in pairs:
            gap = a["score"]["mean"] - b["score"]["mean"]
            p = 0.0004 if gap > 4 else 0.03 if gap > 2 else 0.4
            comparisons.append({
                "group": group, "family": family, "a": a["label"], "b": b["label"], "difference": gap,
                "low": gap - 2.2, "high": gap + 2.2, "p": p, "p_holm": min(1.0, 2 * p), "real": 2 * p < 0.05,
            })  # fmt: skip
    tuned = dict.fromkeys(strategy for strategy, kind in methods if kind == "tuned")
    outcome: Outcome = {
        "schema": 1, "status": "complete", "name": "compare strategies",
        "question": "Which strategy keeps a composed retriever current over five domains that arrive one "
        "after another, if each is tuned with the same budget and may forget at most five points?",
        "command": "clplat sweep --strategies replay,ewc,naive --seeds 0,1,2 --trials 10 --out runs/first",
        "versions": {"python": "3.11.7", "torch": "2.15.0", "open_clip_torch": "3.3.0"}, "code": ["ab" * 32],
        "scenario": "catalogue", "domains": list(orders[0]), "primary": "R@5", "objectives": list(objectives),
        "constraints": {"forgetting": 5.0}, "budget": {"trials": trials, "seconds": None, "tflops": None},
        "seeds": list(seeds), "orders": [list(order) for order in orders], "rows": rows,
        "comparisons": comparisons,
        "sentence": "replay (tuned) is ahead of naive (tuned) by 8.1 points (significant); against "
        "ewc (tuned) the difference could be luck.",
        "studies": [study_of(m, g, trials, objectives) for g in groups for m in tuned] if trials else [],
        "failures": [], "figure": None,
    }  # fmt: skip
    outcome |= changes
    (out / "sweep.json").write_text(json.dumps(outcome))
    return outcome


@pytest.fixture(scope="session")
def make_sweep() -> Callable[..., Outcome]:
    return sweep
