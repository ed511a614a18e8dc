"""Recipes: published systems as configurations, found by name. ``clplat run --recipe maple``.

A recipe is the file ``recipes/<family>/<name>.yaml`` of a scanned package (`clplat.scan`). Its key ``about``
says which system it is and how closely it matches; everything else is a raw configuration.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import Any

from clplat.config.raw import unflatten
from clplat.config.reading import read_yaml
from clplat.errors import UserError, nearest, unknown_name
from clplat.kinds import KINDS
from clplat.scan import packages

MATCHES = {
    "whole": "the mechanism of the paper as far as it applies to composed retrieval",
    "core": "its central formula; the deviations say which piece is missing or different",
    "relative": "the same idea in another form; numbers are not comparable with the paper",
}
_REPORTED = {"data", "metric", "value", "table", "setting"}


@dataclass(frozen=True)
class Recipe:
    """A published system: what it is, and the raw configuration that `clplat run` takes.

    Args:
        name: of the file, without ``.yaml``; family: of its folder.
        config: the slots.
        system: what it is called in the field.
        paper: its title; arxiv: its number; venue: where it appeared.
        match: a key of `MATCHES`.
        note: how the system is said with our parts.
        deviates: what differs from the paper, one item per difference.
        code: the public code that was read, as ``{url, commit}``.
        reported: a number of the paper, as ``{data, metric, value, table, setting}``.
        small: options, dotted or nested, with sizes that tests use instead of the published ones.
        id: in the list of systems that the project was planned with.
    """

    name: str
    family: str
    config: Mapping[str, Any]
    system: str
    paper: str
    match: str
    note: str
    arxiv: str | None = None
    venue: str | None = None
    deviates: Sequence[str] = ()
    code: Mapping[str, str] | None = None
    reported: Mapping[str, Any] | None = None
    small: Mapping[str, Any] = field(default_factory=dict)
    id: str | None = None

    @property
    def parts(self) -> dict[str, str]:
        """Slot -> the part that it names, in the order of the slots."""
        return {slot: str(self.config[slot].get("name")) for slot in KINDS if self.config.get(slot)}


@cache
def _files() -> dict[str, Path]:
    """Name -> file, of all scanned packages, sorted by name."""
    found: dict[str, Path] = {}
    for package, folder in packages().items():
        roots = [folder] if package.rpartition(".")[2] == "recipes" else list(folder.glob("recipes"))
        for path in (path for root in roots for path in root.rglob("*.yaml")):
            if path.stem in found:
                raise UserError(f"two recipes are called '{path.stem}': {found[path.stem]} and {path}")
            found[path.stem] = path
    return dict(sorted(found.items()))


def families() -> list[str]:
    """The folders of recipes, sorted."""
    return sorted({path.parent.name for path in _files().values()})


def recipes(family: str | None = None) -> list[Recipe]:
    """All recipes, or those of one family, by name.

    Raises:
        UserError: there is no such family; a recipe that does not say what it is.
    """
    if family is not None and family not in families():
        raise unknown_name("family of recipes", family, families())
    files = _files().values()
    return [parse_recipe(path) for path in files if family in (None, path.parent.name)]


def recipe(name: str) -> Recipe:
    """The recipe of that name.

    Raises:
        UserError: there is none (the nearest one is offered), or it does not say what it is.

    Example:
        >>> recipe("maple").parts
        {'adapter': 'none', 'prompt': 'deep', 'strategy': 'naive'}
    """
    if name not in _files():
        raise unknown_name("recipe", name, _files())
    return parse_recipe(_files()[name])


def parse_recipe(path: Path) -> Recipe:
    """Read the file of a recipe.

    Raises:
        UserError: no YAML, or an ``about`` that lacks a key, has an unknown one, or a wrong value.
    """
    content = read_yaml(path, "the recipe") or {}
    about = content.pop("about", None) if isinstance(content, dict) else None
    known = {f.name: f for f in fields(Recipe) if f.name not in ("name", "family", "config")}
    needed = [k for k, f in known.items() if f.default is MISSING and f.default_factory is MISSING]
    if not isinstance(about, dict) or not set(needed) <= about.keys():
        raise UserError(f"{path}: 'about' needs the keys {', '.join(needed)}")
    for key in about.keys() - known.keys():
        raise UserError(f"{path}: unknown key '{key}' in 'about'{nearest(key, known)}")
    made = Recipe(path.stem, path.parent.name, unflatten(content, once=True), **about)
    _check(path, made)
    return made


def _check(path: Path, made: Recipe) -> None:
    if made.match not in MATCHES:
        raise UserError(f"{path}: 'match' is '{made.match}' (allowed: {', '.join(MATCHES)})")
    if made.code is not None and set(made.code) != {"url", "commit"}:
        raise UserError(f"{path}: 'code' takes the keys url and commit, or is null")
    if made.reported is not None and set(made.reported) != _REPORTED:
        raise UserError(f"{path}: 'reported' takes the keys {', '.join(sorted(_REPORTED))}, or is null")
    if isinstance(made.deviates, str):
        raise UserError(f"{path}: 'deviates' takes a list of differences, not one text")
