"""docs/systems.md: which published systems clplat runs, and how closely; made from the recipes.

python -m docs.generate.systems
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from clplat.config.recipes import MATCHES, Recipe, recipes
from clplat.files import write_text

__all__ = ["NOT_YET", "PAGE", "page"]

PAGE = Path(__file__).parents[1] / "systems.md"
TEST = "tests/recipes/test_recipes.py"

#: Systems near to a recipe that the parts of today cannot express, and what they need.
NOT_YET = {
    "Mod-X (arXiv 2305.07437)": "`distill` without the rows in which the teacher is wrong; the loss "
    "`similarity_distillation` can leave them out, the strategy has no option for it",
    "ZSCL, whole (arXiv 2303.06628)": "a second stream of reference data, and weights averaged in training",
    "DER++ (arXiv 2004.07211)": "a memory that also stores what the model put out at the time of storing",
    "L2-SP, SI, MAS": "`ewc` with another importance than the Fisher matrix",
    "CLoVe": "hard negative texts; its last step, the interpolation of weights, is the recipe `wise_ft`",
    "CoDyRA (LoRA with learned ranks)": "a scalar for every rank, and a proximal step after the optimizer's",
    "CPE-CLIP": "a strategy that scales the gradients of prompts by the share of new data",
    "ProLIP": "the adapter `full` on the last projection alone",
    "CLIP4Cir, both stages in one run": "a schedule that freezes the towers and changes the composer",
}


def page(every: Sequence[Recipe]) -> str:
    """The page in Markdown."""
    listed = {recipe.id for recipe in every if recipe.id}
    counts = ", ".join(f"{sum(r.match == match for r in every)} {match}" for match in MATCHES)
    lines = [
        "# Published systems",
        "",
        "<!-- Written by `make pages` from clplat/recipes; do not edit. -->",
        "",
        "A recipe is a YAML file that names parts and their settings, and so is a published system:",
        "",
        "```sh",
        "clplat run --recipe maple",
        "clplat run --recipe maple --scenario.domains 3 --seed 1   # options go on top",
        "clplat sweep --recipes maple,coop,lora                    # side by side",
        "clplat list recipes prompts                               # those of one family",
        "```",
        "",
        f"There are {len(every)} recipes: {counts}. {len(listed)} entries of the list of systems that the "
        "project was planned with have one. The sizes of training (epochs, batch, rate) are those of clplat, "
        "unless a recipe says otherwise.",
        "",
        "| match | means |",
        "|---|---|",
        *(f"| {match} | {meaning} |" for match, meaning in MATCHES.items()),
        "",
        "## Recipes",
        "",
        "| system | recipe | match | parts | paper |",
        "|---|---|---|---|---|",
        *(f"| {r.system} | `{r.name}` | {r.match} | {_named(r)} | {_cited(r)} |" for r in every),
        "",
        f"Every recipe is resolved and run on a small stream by `{TEST}`.",
        "",
        "## What matches and what deviates",
        "",
        "The public code is the version that was read for the formula and the defaults. A reported number is "
        "the paper's, on its own data; it was checked in the text that is named, and not reproduced here.",
        "",
        *(line for recipe in every for line in _described(recipe)),
        "",
        "## Not yet",
        "",
        "Near to a recipe, but today's parts cannot express them:",
        "",
        "| system | needs |",
        "|---|---|",
        *(f"| {system} | {need} |" for system, need in NOT_YET.items()),
    ]
    return "\n".join(lines) + "\n"


def _named(recipe: Recipe) -> str:
    return ", ".join(f"{slot} {name}" for slot, name in recipe.parts.items())


def _cited(recipe: Recipe) -> str:
    number = None if recipe.arxiv is None else f"arXiv {recipe.arxiv}"
    return ", ".join(text for text in (recipe.paper, recipe.venue, number) if text)


def _described(recipe: Recipe) -> list[str]:
    """What the recipe is, and below it what deviates, the number of the paper and the code."""
    below = list(recipe.deviates)
    if recipe.reported is not None:
        below.append("Reported: {metric}: {value} on {data}; {setting} ({table}).".format(**recipe.reported))
    if recipe.code is not None:
        url, commit = recipe.code["url"], recipe.code["commit"]
        name = url.removeprefix("https://github.com/")
        below.append(f"Code: [{name}]({url}/tree/{commit}) at `{commit[:7]}`.")
    return [f"- **{recipe.system}** (`{recipe.name}`). {recipe.note}", *(f"    - {text}" for text in below)]


def main() -> None:
    """Write the page."""
    write_text(PAGE, page(recipes()))
    print(PAGE)


if __name__ == "__main__":
    main()
