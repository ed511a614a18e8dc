"""Every recipe is a system that runs, and docs/systems.md says what they are."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from clplat.config.resolve import merge, resolve
from clplat.errors import UserError
from clplat.models.backbone import Backbone
from clplat.runs.experiment import run
from sweeps.systems import PAGE, Recipe, page, read_recipes

RECIPES = {recipe.name: recipe for recipe in read_recipes()}
TOWER = {"width": 32, "layers": 2}
MODEL = {
    "embed_dim": 32,
    "vision_cfg": {**TOWER, "image_size": 16, "patch_size": 8, "head_width": 16},
    "text_cfg": {**TOWER, "context_length": 48, "heads": 2},
}
SMALL: dict[str, Any] = {
    "scenario": {"name": "catalogue", "train": 32, "queries": 20, "gallery": 20, "size": 16},
    "train": {"epochs": 1, "batch_size": 32},
    "evaluation": {"anchors": 32},
}
# The published sizes of these two take seconds and gigabytes.
SMALLER = {
    "clip4cir": {"composer": {"projection": 32, "hidden": 64}},
    "vera": {"adapter": {"r": 16}},
}
# What a strategy adds to the loss, from the second domain on at the latest.
TERMS = {"replay": "replay", "ewc": "ewc", "distill": "distill", "backward_compatible": "compatible"}


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("backbone")
    Backbone.random(MODEL, seed=0).save(folder)
    return f"local-dir:{folder}"


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_every_recipe_runs(recipe: Recipe, backbone: str, tmp_path: Path) -> None:
    plain = recipe.config["strategy"]["name"] in ("frozen", "naive")
    domains = 1 if plain else 2
    raw: dict[str, Any] = {**SMALL, "backbone": backbone}
    for layer in ({"scenario": {"domains": domains}}, recipe.config, SMALLER.get(recipe.name, {})):
        raw = merge(raw, layer)
    result = run(raw, tmp_path / recipe.name, checkpoint_every=0)

    assert result["status"] == "complete"
    assert [len(row) for row in result["metrics"]["R@5"]] == [domains] * (domains + 1)
    losses = result["training"].get("loss", [])
    assert all(math.isfinite(value) for value in losses)
    trains = recipe.config["strategy"]["name"] != "frozen"
    assert len(losses) == (domains if trains else 0)
    assert (result["cost"]["trainable_parameters"] > 0) == trains
    term = TERMS.get(recipe.config["strategy"]["name"])
    assert term is None or any(value is not None for value in result["training"][term])


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_every_recipe_resolves_to_what_it_says(recipe: Recipe) -> None:
    config = resolve(recipe.config)
    for slot, options in recipe.config.items():
        for key, value in options.items():
            assert config[slot][key] == value, f"{slot}.{key}"


def test_the_published_sizes() -> None:
    combiner = RECIPES["clip4cir"].config["composer"]
    assert combiner == {
        "name": "combiner",
        "projection": 2560,
        "hidden": 5120,
        "dropout": 0.5,
        "start": "random",
    }


def test_notes_are_short_and_say_more_than_the_title() -> None:
    for recipe in RECIPES.values():
        assert 40 < len(recipe.note) < 500, recipe.name
        assert recipe.arxiv is None or len(recipe.arxiv) == len("2308.11485"), recipe.name
    assert sum(recipe.id is not None for recipe in RECIPES.values()) >= 6


def test_docs_systems_is_up_to_date() -> None:
    written = PAGE.read_text(encoding="utf-8")
    assert written == page(list(RECIPES.values())), "run `python -m sweeps.systems`"


def test_a_recipe_that_does_not_say_what_it_is(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("about: {system: Mine}\nstrategy: naive\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"mine.yaml: 'about' needs the keys arxiv, match"):
        read_recipes(tmp_path)
    about = "{system: Mine, paper: A paper, arxiv: null, match: nearly, note: A note}"
    (tmp_path / "mine.yaml").write_text(f"about: {about}\nstrategy: naive\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"'match' is 'nearly' \(allowed: whole, core, relative\)"):
        read_recipes(tmp_path)
