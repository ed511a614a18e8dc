"""Methods do what they are for, end to end on fixed seeds: the numbers behind every later claim.

The short stream runs with the ordinary tests; the demo's stream and real pictures are marked slow. What the
numbers were is written in docs/numbers.md.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

Run = Callable[..., dict[str, Any]]


def mean(result: dict[str, Any], metric: str, row: int = -1) -> float:
    values = result["metrics"][metric][row]
    return sum(values) / len(values)


def forgetting(result: dict[str, Any]) -> float:
    value: float = result["scores"][-1]["forgetting_max"]
    return value


def runner(base: dict[str, Any], root: Path) -> Run:
    """Run a configuration once and keep its result for all tests that ask for it."""
    from clplat.config.raw import merge
    from clplat.runs.experiment import run

    torch.set_num_threads(1)
    done: dict[str, dict[str, Any]] = {}

    def get(name: str, **slots: dict[str, Any]) -> dict[str, Any]:
        """The result of strategy ``name``; ``slots``, its options among them, go over the base."""
        slots["strategy"] = {"name": name, **slots.get("strategy", {})}
        key = str(slots)
        if key not in done:
            done[key] = run(merge(base, slots), root / str(len(done)))
        return done[key]

    return get


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Run:
    scenario = {"name": "catalogue", "domains": 3, "train": 300, "queries": 100, "gallery": 200}
    return runner({"scenario": scenario, "train": {"epochs": 3}}, tmp_path_factory.mktemp("short"))


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Run:
    import clplat
    from clplat.config.raw import read_config

    base = read_config(Path(clplat.__file__).parent / "demo.yaml")
    return runner(base, tmp_path_factory.mktemp("demo"))


@pytest.mark.slow
def test_zero_shot_starts_between_chance_and_the_bound(short: Run) -> None:
    frozen, bound = mean(short("frozen"), "R@5"), mean(short("cumulative"), "R@5")
    chance = 100 * 5 / 200
    assert 4 * chance < frozen < 0.75 * bound


def test_frozen_does_not_change_at_all(short: Run) -> None:
    result = short("frozen")
    for rows in result["metrics"].values():
        assert all(row == rows[0] for row in rows)
    assert result["cost"]["training_flops"] == 0 and result["cost"]["optimizer_steps"] == 0


@pytest.mark.slow  # on digits, tests/strategies/test_on_digits.py shows it in a second
def test_replay_is_above_naive(short: Run) -> None:
    assert mean(short("replay"), "R@5") > mean(short("naive"), "R@5") + 3


@pytest.mark.slow  # the bound trains on everything again and again
def test_the_bound_is_above_replay(short: Run) -> None:
    assert mean(short("cumulative"), "R@5") >= mean(short("replay"), "R@5")


def test_naive_learns_and_forgets_clearly(short: Run) -> None:
    naive, frozen = short("naive"), short("frozen")
    assert naive["scores"][-1]["plasticity"] > frozen["scores"][-1]["plasticity"] + 10
    assert forgetting(naive) > 8
    assert naive["scores"][-1]["zs_retention"] < 90


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ewc", "distill", "replay", "rwalk", "gem", "der", "cope"])
def test_protection_forgets_less_than_naive(short: Run, strategy: str) -> None:
    assert forgetting(short(strategy)) < 0.7 * forgetting(short("naive"))
    assert mean(short(strategy), "R@5") > mean(short("naive"), "R@5")


@pytest.mark.slow
def test_mod_x_forgets_less_than_its_loss_alone(short: Run) -> None:
    from clplat.config.recipes import recipe

    raw: Any = recipe("mod_x").config
    plain = short("naive", loss=raw["loss"])
    own = short(raw["strategy"]["name"], loss=raw["loss"], strategy=raw["strategy"])
    assert forgetting(own) < 0.7 * forgetting(plain)


@pytest.mark.parametrize("strategy", ["frozen", "naive", pytest.param("cumulative", marks=pytest.mark.slow)])
def test_sum_beats_picture_only_and_text_only(short: Run, strategy: str) -> None:
    """The blind baselines use the very same model: neither input alone finds what both find."""
    result = short(strategy)
    for blind in ("image_only", "text_only"):
        alone = result["baselines"][blind]["R@5"][-1]
        assert mean(result, "R@5") > sum(alone) / len(alone) + 10


@pytest.mark.slow  # runs of their own
@pytest.mark.parametrize("strategy", ["ewc", "replay"])
def test_unseen_combinations_are_reported_and_learned_too(short: Run, strategy: str) -> None:
    rows = short(strategy)["tags"]["combination=unseen"]["R@5"]
    first, last = ([value for value in row if value is not None] for row in (rows[0], rows[-1]))
    assert sum(last) / len(last) > sum(first) / len(first)


@pytest.mark.slow
def test_backward_compatible_training_keeps_the_old_index_useful(short: Run) -> None:
    """C[i][i-1]: the queries of every version in the index that the version before it made."""
    plain, tied = (short(name)["compatibility"]["R@5"] for name in ("naive", "backward_compatible"))
    steps = range(1, len(plain))
    assert sum(tied[i][i - 1] for i in steps) > sum(plain[i][i - 1] for i in steps) + 3


@pytest.mark.slow
def test_trained_composers_beat_trained_blind_ones(short: Run) -> None:
    """Each composer is trained for itself, the blind ones as well."""
    found = {
        name: mean(short("naive", composer={"name": name}), "R@5")
        for name in ("sum", "combiner", "image_only", "text_only")
    }
    assert min(found["sum"], found["combiner"]) > max(found["image_only"], found["text_only"]) + 3


@pytest.mark.slow
@pytest.mark.parametrize("name", ["procrustes", "ridge", "linear"])
def test_projections_help_new_queries_in_old_indexes(short: Run, name: str) -> None:
    plain = short("naive")["compatibility"]["R@5"][-1]
    mapped = short("naive", projection={"name": name})["compatibility"]["R@5"][-1]
    assert mapped[-1] == plain[-1]
    assert sum(mapped[:-1]) > sum(plain[:-1])


@pytest.mark.slow
def test_the_demo_shows_what_it_says(demo: Run) -> None:
    final = {
        n: mean(demo(n), "R@5")
        for n in ("frozen", "naive", "replay", "ewc", "distill", "patch", "cumulative")
    }
    assert final["cumulative"] >= final["replay"] > final["naive"] > final["frozen"]
    for strategy in ("replay", "ewc", "distill", "patch"):
        assert forgetting(demo(strategy)) < forgetting(demo("naive"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("strategy", "margin"), [("agem", -4), ("backward_compatible", -4), ("lora_per_domain", 3)]
)
def test_every_other_strategy_against_naive(demo: Run, strategy: str, margin: float) -> None:
    """Four points of a mean over 500 queries are noise; the first two protect something else or little."""
    slots = {"adapter": {"name": "none"}, "train": {"epochs": 3, "lr": 3e-3}}
    found = demo(strategy, **(slots if strategy == "lora_per_domain" else {}))
    assert mean(found, "R@5") >= mean(demo("naive"), "R@5") + margin


@pytest.fixture(scope="module")
def pacs(shared_data: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Run:
    from scenarios._catalogue.pretrain import pretrain

    torch.set_num_threads(1)
    pictures, clip = shared_data("pacs"), tmp_path_factory.mktemp("clip")
    pretrain(clip, source=str(pictures / "photo"), epochs=40, batch_size=64, report=lambda line: None)
    order = ["photo", "art_painting", "cartoon", "sketch"]
    scenario = {
        "name": "domain_folders",
        "root": str(pictures),
        "order": order,
        "train": 1000,
        "gallery": 800,
    }
    base = {
        "scenario": scenario,
        "backbone": {"name": f"local-dir:{clip}"},
        "train": {"epochs": 6},
        "strategy": {"name": "naive"},
    }
    return runner(base, tmp_path_factory.mktemp("pacs"))


@pytest.mark.slow
def test_real_pictures(pacs: Run) -> None:
    """PACS, with a CLIP that was pretrained from scratch on a thousand of its photos."""
    naive = pacs("naive")
    start = mean(naive, "mAP@10", 0)
    assert mean(naive, "mAP@10") > 2 * start + 2
    replay = pacs("replay", strategy={"size": 400})
    assert mean(pacs("cumulative"), "mAP@10") >= mean(replay, "mAP@10") > mean(naive, "mAP@10")
    assert forgetting(replay) < forgetting(naive)
