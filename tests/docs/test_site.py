"""The site: a page per part and per recipe, made from the code; every link leads somewhere."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import clplat
import clplat.parts
import clplat.testing
from clplat import registry
from clplat.config.annotations import group_in
from clplat.config.options import arguments
from clplat.config.recipes import MATCHES, Recipe, recipes
from clplat.kinds import Kind
from docs.generate.api import api_page
from docs.generate.docstrings import formulas
from docs.generate.links import broken
from docs.generate.parts import SHOWN, index, link_names, part_page, part_pages, tags
from docs.generate.recipes import recipe_pages, table
from sweeps.publish import read_ledger

ROOT = Path(__file__).parents[2]
PARTS = [(kind, name) for kind in SHOWN for name in registry.names(kind.plural)]
RECIPES = {recipe.name: recipe for recipe in recipes()}


def sections(page: str) -> dict[str, str]:
    """Heading -> text, of a page."""
    pieces = re.split(r"^## (.*)\n", page, flags=re.MULTILINE)
    return dict(zip(["", *pieces[1::2]], pieces[::2], strict=True))


def option_names(made: type, where: str = "") -> list[str]:
    """Dotted names of the options of a class: those of a group stand in its place."""
    groups = {option.name: group_in(option.type) for option in arguments(made)}
    inside = [
        option_names(group, f"{where}{name}.") if group else [where + name] for name, group in groups.items()
    ]
    return [name for names in inside for name in names]


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    return part_pages() | recipe_pages()


def test_every_part_and_every_recipe_has_a_page(pages: dict[str, str]) -> None:
    wanted = {f"{kind.plural}/{name}.md" for kind, name in PARTS} | {f"recipes/{name}.md" for name in RECIPES}
    indexes = {f"{kind.plural}/index.md" for kind in SHOWN}
    assert pages.keys() == wanted | indexes
    assert not {path for path in wanted | indexes if (ROOT / "docs" / path).exists()}, "made, not committed"


@pytest.mark.parametrize(("kind", "name"), PARTS, ids=[f"{kind.slot}-{name}" for kind, name in PARTS])
def test_the_page_of_a_part_says_what_the_class_says(kind: Kind, name: str, pages: dict[str, str]) -> None:
    page, made = pages[f"{kind.plural}/{name}.md"], registry.load(kind.plural, name)
    found = sections(page)
    assert page.startswith(f"# {name}\n\n")
    assert registry.describe(kind.plural, name) in re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", page)
    assert found["Signature"].startswith(f"\n```python\n{made.__name__}(")
    for path in option_names(made):
        line = re.search(rf"^\| `--{kind.slot}\.{path}` \| (.*) \|$", found["Options"], re.MULTILINE)
        assert line, path
        assert len(re.split(r"(?<!\\) \| ", line.group(1))) == 4, "type, default, search space, meaning"
    for formula in formulas((inspect.getdoc(made) or "").partition("\n\nArgs:")[0]):
        assert formula in found["Formula"]
    for number in re.findall(r"arXiv[: ](\d{4}\.\d{4,5})", made.__doc__ or ""):
        assert f"(https://arxiv.org/abs/{number})" in page
    for tag in tags(kind, made):
        assert f"| `{tag}` | " in found["Tags"]
    for recipe in RECIPES.values():
        named = name in recipe.parts.get(kind.slot, "").split(",")
        assert (f"../recipes/{recipe.name}.md" in page) == named
    assert "Measured" in found


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_the_page_of_a_recipe_says_what_its_file_says(recipe: Recipe, pages: dict[str, str]) -> None:
    page = pages[f"recipes/{recipe.name}.md"]
    found = sections(page)
    said = [f"# {recipe.system}\n", recipe.note, recipe.paper, MATCHES[recipe.match]]
    said += [f"clplat run --recipe {recipe.name}\n", *filter(None, [recipe.venue, recipe.arxiv])]
    said += [f"- {text}" for text in recipe.deviates]
    said += [str(value) for value in (recipe.reported or {}).values()]
    said += [f"({recipe.code['url']}/tree/{recipe.code['commit']})"] if recipe.code else []
    for text in said:
        assert text in page, text
    config = found["Configuration"].partition("```yaml\n")[2].partition("```")[0]
    assert yaml.safe_load(config) == recipe.config
    for name in ",".join(recipe.parts.values()).split(","):
        assert f"`{name}`" in found["Parts"]
    assert f"](recipes/{recipe.name}.md)" in table(list(RECIPES.values()))


@pytest.mark.parametrize("kind", SHOWN, ids=lambda kind: kind.slot)
def test_the_index_of_a_kind_names_all_of_it(kind: Kind) -> None:
    assert re.findall(r"^\| \[`(\w+)`\]\(\1\.md\)", index(kind), re.MULTILINE) == registry.names(kind.plural)


def test_pages_show_what_an_option_may_be() -> None:
    page = part_page(next(kind for kind in SHOWN if kind.slot == "strategy"), "ewc")
    assert "EWC(\n    lam: float = 0.3,\n    gamma: float = 1.0,\n    decay: float = 0.95,\n" in page
    assert "| `--strategy.lam` | a number | `0.3` | 0.003 to 30.0, logarithmic | strength of the" in page
    assert "penalty = lam / 2 * sum_i F_i (theta_i - theta*_i)^2\nF <- gamma * F + F_new" in page
    assert "[`Patch`](../strategies/patch.md) protects by interpolation" in page


def test_every_row_of_the_ledger_stands_with_its_parts(pages: dict[str, str]) -> None:
    rows = [row for entry in read_ledger().values() for row in entry["rows"]]
    assert len(rows) > 50
    for row in rows:
        assert f"| {row['label']}" in pages[f"strategies/{row['strategy']}.md"], row["label"]
    assert "| combiner, frozen towers |" in pages["composers/combiner.md"]
    assert "| combiner, frozen towers |" not in pages["composers/sum.md"]
    assert "| sum, frozen towers |" in pages["recipes/align_sum.md"], "the same settings, by whatever name"
    assert "No row of the ledger" in pages["recipes/maple.md"]


def test_names_in_tables_about_parts_are_links() -> None:
    text = "| `ewc` | a\n## Strategies\n| `ewc`, `agem` | `naive` |\n## Then\n| `ewc` | b"
    linked = "| [`ewc`](strategies/ewc.md), [`agem`](strategies/agem.md) | `naive` |"
    assert link_names(text) == text.replace("| `ewc`, `agem` | `naive` |", linked)


def test_the_page_of_the_interface_holds_what_is_public_once() -> None:
    page, contracts = api_page(), {kind.contract.replace(":", ".") for kind in SHOWN}
    shown = re.findall(r"^::: (\S+)$", page, re.MULTILINE)
    assert len(shown) == len(set(shown)) and not contracts & set(shown)
    for module in (clplat, clplat.parts, clplat.testing):
        for name in module.__all__:
            made = getattr(module, name)
            if inspect.isclass(made) or inspect.isfunction(made):
                assert f"{made.__module__}.{made.__qualname__}" in {*shown, *contracts}, name


def test_links_that_lead_nowhere_are_found(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "index.html").write_text('<h1 id="top"></h1><a href="../b.html#x">', encoding="utf-8")
    (tmp_path / "b.html").write_text(
        '<p id="x"><a href="a/#top"><a href="a/#no"><a href="no/"><img src="no.png"><a href="https://no.no">',
        encoding="utf-8",
    )
    assert broken(tmp_path) == ["b.html: a/#no", "b.html: no/", "b.html: no.png"]


def test_every_decision_stands_in_the_list() -> None:
    folder = ROOT / "docs" / "decisions"
    listed = re.findall(r"^\| (\S+) \| \[.*\]\((.*)\) \|$", (folder / "README.md").read_text(), re.MULTILINE)
    assert sorted(name for _, name in listed) == sorted(path.name for path in folder.glob("2*.md"))
    for date, name in listed:
        assert name.startswith(date) and (folder / name).read_text().startswith(f"# {date}: ")


@pytest.mark.slow
def test_the_site_builds_and_its_links_lead_somewhere(tmp_path: Path) -> None:
    pytest.importorskip("material", reason="needs the extra: make docs")
    pytest.importorskip("mkdocstrings_handlers.python", reason="needs the extra: make docs")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert broken(tmp_path / "site") == []
    for path in part_pages() | recipe_pages():
        folder = path.removesuffix(".md").removesuffix("index")
        assert (tmp_path / "site" / folder / "index.html").exists()
