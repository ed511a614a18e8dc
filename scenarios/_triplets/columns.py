"""Which column has which role."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from clplat.errors import UserError, unknown_name

__all__ = ["ROLES", "chosen_columns", "named_roles"]

#: Role -> the names that are taken for it where nothing else is said, the first that is there.
ROLES: dict[str, tuple[str, ...]] = {
    "id": ("id", "query_id", "pair_id", "pairid"),
    "reference": ("reference", "ref", "query_image", "reference_image", "ref_image", "reference_img_id"),
    "text": (
        "text",
        "texts",
        "query_text",
        "modification",
        "modification_text",
        "relative_caption",
        "instruction",
        "caption",
        "captions",
    ),
    "target": ("target", "targets", "target_image", "answer", "answers", "target_img_id"),
    "domain": ("domain",),
    "split": ("split",),
    "time": ("time", "date"),
    "label": ("label",),
    "candidates": ("candidates", "negatives"),
    "exclude": ("exclude", "exclusions"),
    "tags": ("tags",),
    "groups": ("groups",),
    "weight": ("weight", "weights"),
    "reference_caption": ("reference_caption",),
    "target_caption": ("target_caption",),
}
_SEVERAL = ("tags", "groups")


def named_roles(columns: Mapping[str, str]) -> None:
    """Refuse a role that there is not.

    Raises:
        ValueError: with the nearest one.
    """
    for role in columns:
        if role not in ROLES:
            raise ValueError(str(unknown_name("role in columns", role, ROLES)))


def chosen_columns(path: Path, names: Sequence[str], columns: Mapping[str, str]) -> dict[str, list[str]]:
    """Role -> the columns that have it: those that are named, or one that is called so.

    Args:
        path: of the table, for messages.
        names: of its columns.
        columns: role -> name; an empty name for none; several with commas for tags and groups.

    Raises:
        UserError: there is no such column; none for the target, or none for the reference or the text where
            it was not said that there is none.

    Example:
        >>> chosen_columns(Path("a.csv"), ["Ref", "answer", "words"], {"text": "words"})
        {'reference': ['Ref'], 'text': ['words'], 'target': ['answer']}
    """
    found: dict[str, list[str]] = {}
    small = {name.lower().strip(): name for name in reversed(names)}
    taken = {name.strip() for said in columns.values() for name in said.split(",")}
    for role, guesses in ROLES.items():
        if role in columns:
            said = columns[role].split(",") if role in _SEVERAL else [columns[role]]
            found[role] = [name.strip() if role in _SEVERAL else name for name in said if name.strip()]
            for name in found[role]:
                if name not in names:
                    raise unknown_name(f"column of {path.name} (for {role})", name, names)
        elif guess := next(
            (small[name] for name in guesses if small.get(name, "") not in ("", *taken)), None
        ):
            found[role] = [guess]
    found = {role: held for role, held in found.items() if held}
    there = f"(its columns: {', '.join(names)})"
    if "target" not in found:
        raise UserError(
            f"{path}: no column is the target; name it: --scenario.columns '{{target: NAME}}' {there}"
        )
    lacking = [role for role in ("reference", "text") if role not in found]
    if lacking and (len(lacking) == 2 or columns.get(lacking[0]) != ""):
        # A table whose texts have another name must not be taken for one of pictures alone.
        named = ", ".join(f"{role}: NAME" for role in lacking)
        none = f", or an empty name if there is none: '{{{lacking[0]}: \"\"}}'" if len(lacking) == 1 else ""
        raise UserError(
            f"{path}: no column is the {' or the '.join(lacking)}; name {'it' if none else 'them'}: "
            f"--scenario.columns '{{{named}}}'{none} {there}"
        )
    return found
