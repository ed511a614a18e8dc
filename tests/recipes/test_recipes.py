"""Every recipe is a system that runs and says what it is."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from clplat import cli, registry
from clplat.cli import main
from clplat.config.nested import plain
from clplat.config.parse import parse_arguments
from clplat.config.raw import merge, unflatten
from clplat.config.recipes import Recipe, families, parse_recipe, recipe, recipes
from clplat.config.resolve import resolve
from clplat.errors import UserError
from clplat.models.backbone import Backbone
from clplat.naming import flat
from clplat.runs.experiment import run
from clplat.sweep import Sweep
from clplat.sweep.flags import from_flags
from clplat.testing.twins import fashioniq

RECIPES = {entry.name: entry for entry in recipes()}
#: Those that train; a stream is a scenario or probes with their options, and needs data.
SYSTEMS = {name: entry for name, entry in RECIPES.items() if entry.family != "streams"}
STREAMS = {name: entry for name, entry in RECIPES.items() if name not in SYSTEMS}
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


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("backbone")
    Backbone.random(MODEL, seed=0).save(folder)
    return f"local-dir:{folder}"


@pytest.fixture(scope="module")
def no_pictures_of_rankings() -> Iterator[None]:
    """They are drawn, but not reduced to few colours and written: that is the same whatever is trained."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("clplat.runs.experiment.save_picture", lambda picture, path: None)
        yield


def once_for_the_same_parts() -> list[Any]:
    """Recipes that run, and with the slow tests those whose parts are all in recipes before them.

    A strategy alone makes no other of the same family run here: the contract trains each of them on a stream.
    """
    met: set[tuple[str, str]] = {("strategy", name) for name in registry.names("strategies")}
    families_met: set[str] = set()
    marked = []
    for name, entry in SYSTEMS.items():
        parts = {*parts_in(entry.config)}
        slow = parts <= met and entry.family in families_met
        marked.append(pytest.param(entry, id=name, marks=[pytest.mark.slow] if slow else []))
        met |= parts
        families_met.add(entry.family)
    return marked


def parts_in(tree: Any, slot: str = "") -> Iterator[tuple[str, str]]:
    """Slot and name of each part, also of those inside others."""
    if isinstance(tree, dict):
        if "name" in tree:
            yield slot, str(tree["name"])
        for key, value in tree.items():
            yield from parts_in(value, key)


@pytest.mark.usefixtures("no_pictures_of_rankings")
@pytest.mark.parametrize("recipe", once_for_the_same_parts())
def test_every_recipe_runs(recipe: Recipe, backbone: str, tmp_path: Path) -> None:
    plain = recipe.config["strategy"]["name"] in ("frozen", "naive")
    domains = 1 if plain else 2
    raw: dict[str, Any] = {**SMALL, "backbone": backbone, "probes": "none"}
    for layer in ({"scenario": {"domains": domains}}, recipe.config, unflatten(recipe.small)):
        raw = merge(raw, layer)
    result = run(raw, tmp_path / recipe.name, checkpoint_every=0)

    assert result["status"] == "complete"
    assert [len(row) for row in result["metrics"]["R@5"]] == [domains] * (domains + 1)
    losses = result["training"].get("loss", [])
    assert all(math.isfinite(value) for value in losses)
    trains = recipe.config["strategy"]["name"] != "frozen"
    # A step per domain and phase; GDumb's second model is trained on the memories of both, joint training on
    # the data of both.
    phases = len(resolve(raw).make("strategy").phases(None))
    assert len(losses) == (domains * phases + (recipe.name in ("gdumb", "joint")) if trains else 0)
    assert (result["cost"]["trainable_parameters"] > 0) == trains
    # From the second domain on at the latest.
    for term in resolve(raw).make("strategy").terms:
        assert any(value is not None for value in result["training"][term]), term


@pytest.fixture(scope="module")
def streams(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Scenarios of real layouts: a benchmark with three domains, photographs with two."""
    shown = {"name": "fashioniq", "root": str(fashioniq(tmp_path_factory.mktemp("fashioniq")))}
    table = Path(os.environ.get("CLPLAT_SHARED_DATA", "nowhere")) / "products" / "products.csv"
    given = {**RECIPES["products"].config["scenario"], "order": ["Shoes", "Watches"], "table": str(table)}
    return {"fashioniq": shown, "products": {**given, "train": 16, "queries": 10, "gallery": 200}}


@pytest.mark.slow
@pytest.mark.parametrize("stream", ["fashioniq", "products"])
@pytest.mark.parametrize("recipe", SYSTEMS.values(), ids=SYSTEMS)
def test_every_recipe_runs_on_a_benchmark_and_on_photographs(
    recipe: Recipe, stream: str, streams: dict[str, Any], backbone: str, tmp_path: Path
) -> None:
    if stream == "products" and not Path(streams[stream]["table"]).exists():
        pytest.skip("CLPLAT_SHARED_DATA does not hold the products")
    raw: dict[str, Any] = {**SMALL, "scenario": streams[stream], "backbone": backbone}
    split = {"evaluation": {"split": "val"}} if stream == "fashioniq" else {}  # its test answers are hidden
    for layer in (split, recipe.config, unflatten(recipe.small)):
        raw = merge(raw, layer)
    reads = " ".join(str(recipe.config.get(slot)) for slot in ("transform", "composer", "postprocessor"))
    said = ("captions", "rewritten", "captioned_gallery", "judged")
    if stream == "fashioniq" and any(name in reads for name in said):  # which the benchmark has not
        with pytest.raises(UserError, match=r"captions needs captions|has no caption, which"):
            run(raw, tmp_path / recipe.name)
        return
    result = run(raw, tmp_path / recipe.name, checkpoint_every=0)
    assert result["status"] == "complete"
    assert all(math.isfinite(value) for value in result["training"].get("loss", []))


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_every_recipe_resolves_to_what_it_says(recipe: Recipe) -> None:
    config = resolve(recipe.config)
    whole = {slot: plain(part) for slot, part in config.parts.items()} | config.as_dict()
    assert flat(merge(whole, recipe.config)) == flat(whole), "also of parts inside parts"


@pytest.mark.parametrize("recipe", STREAMS.values(), ids=STREAMS)
def test_every_stream_is_built_from_a_twin_in_its_scenarios_test(recipe: Recipe) -> None:
    part = recipe.config.get("scenario") or recipe.config["probes"]
    tests = (Path(__file__).parents[1] / "scenarios").rglob(f"test_{part['name']}.py")
    assert any(recipe.name in path.read_text(encoding="utf-8") for path in tests)
    assert not [name for name, system in SYSTEMS.items() if "scenario" in system.config], "no stream"


def test_the_published_sizes() -> None:
    combiner = RECIPES["clip4cir"].config["composer"]
    assert combiner == {
        "name": "combiner",
        "projection": 2560,
        "hidden": 5120,
        "dropout": 0.5,
        "start": "random",
    }


def test_settings_without_which_a_system_does_not_do_what_it_claims() -> None:
    """Read in the authors' scripts; how each was found wanting is in docs/defaults.md."""
    raw: dict[str, Any] = {name: SYSTEMS[name].config for name in ("mod_x", "ctp", "clip_refine")}
    assert raw["mod_x"]["strategy"]["weight"] == 20 and raw["mod_x"]["strategy"]["reduction"] == "sum"
    own = raw["ctp"]["strategy"]
    terms = (raw["ctp"]["loss"], own["distill"], own["momentum_contrast"])
    assert [term["temperature"] for term in terms] == [0.07] * 3
    assert raw["clip_refine"]["train"]["lr"] <= 1e-4, "its draws are noise at a higher rate"


def test_notes_are_short_and_say_more_than_the_title() -> None:
    for one in RECIPES.values():
        assert 40 < len(one.note) < 500, one.name
        assert one.arxiv is None or len(one.arxiv) == len("2308.11485"), one.name
    assert sum(one.id is not None for one in RECIPES.values()) >= 6


def test_what_is_said_of_a_paper_can_be_looked_up() -> None:
    for one in RECIPES.values():
        assert one.deviates and all(text.endswith(".") and len(text) < 200 for text in one.deviates), one.name
        if one.code is not None:
            assert re.fullmatch(r"https://github\.com/[\w-]+/[\w.-]+", one.code["url"]), one.name
            assert re.fullmatch(r"[0-9a-f]{40}", one.code["commit"]), one.name
        if one.reported is not None:
            assert isinstance(one.reported["value"], int | float) and all(one.reported.values()), one.name
    assert sum(one.code is not None for one in RECIPES.values()) >= 30
    assert sum(one.reported is not None for one in RECIPES.values()) >= 18


ABOUT = "system: Mine, paper: A paper, match: core, note: A note"


@pytest.mark.parametrize(
    ("about", "said"),
    [
        ("system: Mine", "'about' needs the keys system, paper, match, note"),
        (ABOUT.replace("core", "nearly"), r"'match' is 'nearly' \(allowed: whole, core, relative\)"),
        (f"{ABOUT}, venu: ICLR", r"unknown key 'venu' in 'about'; did you mean 'venue'\?"),
        (f"{ABOUT}, code: {{url: a}}", "'code' takes the keys url and commit"),
        (f"{ABOUT}, reported: {{value: 1}}", "'reported' takes the keys data, metric, setting, table, value"),
        (f"{ABOUT}, deviates: much", "'deviates' takes a list"),
        ("system: [", "is not valid YAML: line 1"),
    ],
)
def test_a_recipe_that_does_not_say_what_it_is(about: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(f"about: {{{about}}}\nstrategy: naive\n", encoding="utf-8")
    with pytest.raises(UserError, match=rf"mine\.yaml.*{said}"):
        parse_recipe(tmp_path / "mine.yaml")


def test_by_name_and_by_family() -> None:
    assert {entry.family for entry in recipes()} == set(families())
    assert recipe("maple") in recipes("prompts") and recipe("maple") not in recipes("adapters")
    with pytest.raises(UserError, match=r"unknown recipe 'mapel'; did you mean 'maple'"):
        recipe("mapel")
    with pytest.raises(UserError, match=r"unknown family of recipes 'prompt'; did you mean 'prompts'"):
        recipes("prompt")


def test_the_command_line_takes_recipes_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--recipe", "maple", "--prompt.length", "3", "--print-config"]) == 0
    config = yaml.safe_load(capsys.readouterr().out)
    assert config["prompt"]["name"] == "deep" and config["prompt"]["length"] == 3
    assert main(["list", "recipes", "prompts"]) == 0
    assert {"coop", "maple"} < {line.split()[0] for line in capsys.readouterr().out.splitlines()}
    assert main(["list", "systems"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(RECIPES)
    assert main(["run", "--recipe", "mapel"]) == 2
    assert "did you mean 'maple'" in capsys.readouterr().err


def test_a_sweep_compares_recipes() -> None:
    sweep = swept(["--recipes", "maple,coop"])
    assert list(sweep.entries()) == ["maple", "coop"]
    assert sweep.entries()["maple"]["prompt"]["name"] == "deep"
    with pytest.raises(UserError, match="--recipes and --strategies"):
        swept(["--recipes", "maple", "--strategies", "naive"])


def swept(words: list[str]) -> Sweep:
    parser, _ = cli._parser()
    options, rest = parser.parse_known_args(["sweep", *words])
    return from_flags(options, parse_arguments(rest))
