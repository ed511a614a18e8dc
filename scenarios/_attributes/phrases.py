"""What is said of an item: captions, and changes in several phrasings, from a file of templates."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from typing_extensions import TypedDict

from clplat.config.reading import read_yaml
from clplat.documents.checked import checked
from clplat.errors import UserError

__all__ = ["ENGLISH", "Phrases", "read_phrases"]

#: The templates that come with the platform.
ENGLISH = Path(__file__).with_name("english.yaml")


@dataclass(frozen=True)
class Phrases:
    """Templates for the attributes of one table.

    Args:
        attributes: the attributes that can be named, in the order in which they are said.
        change: attributes joined by " + " -> the phrases of their change.
        other: phrases for an attribute without its own, with {attribute} and {value}.
        between, last: what stands between phrases that are joined, and before the last of them.
        caption: captions of an item.
        words: attribute -> value -> how it is said.
    """

    attributes: tuple[str, ...]
    change: Mapping[str, Sequence[str]]
    other: Sequence[str]
    between: str
    last: str
    caption: Sequence[str]
    words: Mapping[str, Mapping[str, str]]

    def changes(self, wanted: Mapping[str, str]) -> list[str]:
        """All phrasings of a change to these values.

        Args:
            wanted: attribute -> value that the item should have.
        """
        names = [name for name in self.attributes if name in wanted]
        values = {name: self.said(name, wanted[name]) for name in names}
        together = self.change.get(" + ".join(names))
        if together is not None:
            return [_filled(form, values) for form in together]
        own = [self._phrases(name, values) for name in names]
        count = min(map(len, own))
        return [self._joined([phrases[k] for phrases in own]) for k in range(count)]

    def fullest(self, values: Mapping[str, str]) -> str | None:
        """The caption that names the most attributes, of equal ones the last; None where none can be said."""
        said = {name: self.said(name, value) for name, value in values.items()}
        known = [form for form in self.caption if _named(form) <= said.keys()]
        return _filled(max(reversed(known), key=lambda form: len(_named(form))), said) if known else None

    def captions(self, values: Mapping[str, str], title: str | None = None) -> list[str]:
        """All that is true of an item: captions, its title, and every change that would end in it.

        The title, which names what attributes do not, stands there as often as a twelfth of the rest.

        Args:
            values: attribute -> value of the item; attributes that are absent are not named.
        """
        said = {name: self.said(name, value) for name, value in values.items()}
        found = [_filled(form, said) for form in self.caption if _named(form) <= said.keys()]
        names = [name for name in self.attributes if name in values]
        for size in range(1, min(3, len(names)) + 1):
            for chosen in combinations(names, size):
                found += self.changes({name: values[name] for name in chosen})
        return found + [title] * max(1, len(found) // 12) if title else found

    def said(self, attribute: str, value: str) -> str:
        """A value in words."""
        own = self.words.get(attribute, {}).get(value)
        return own if own is not None else " ".join(value.replace("_", " ").lower().split())

    def _phrases(self, name: str, values: Mapping[str, str]) -> list[str]:
        if name in self.change:
            return [_filled(form, values) for form in self.change[name]]
        both = {"attribute": name.replace("_", " "), "value": values[name]}
        return [_filled(form, both) for form in self.other]

    def _joined(self, phrases: Sequence[str]) -> str:
        return self.last.join([*([self.between.join(phrases[:-1])] if phrases[:-1] else []), phrases[-1]])


def _filled(form: str, values: Mapping[str, str]) -> str:
    return re.sub(r"\{(\w+)\}", lambda found: values[found[1]], form)


def _named(form: str) -> set[str]:
    return set(re.findall(r"\{(\w+)\}", form))


class _File(TypedDict):
    """What a file of templates must hold; ``words`` may be absent."""

    change: dict[str, list[str]]
    other: list[str]
    join: dict[str, str]
    caption: list[str]


def read_phrases(path: Path, attributes: Sequence[str]) -> Phrases:
    """Read a file of templates for the attributes of a table; lines of other attributes are left out.

    Raises:
        UserError: no such file, a key that is missing or of another form, a line without phrases, a
            placeholder that its line does not name.
    """
    content = checked(read_yaml(path, "the phrases"), _File, path, "file of phrases")
    change = {frozenset(map(str.strip, line.split("+"))): forms for line, forms in content["change"].items()}
    lines = [(" + ".join(sorted(names)), names, forms) for names, forms in change.items()]
    for line, names, forms in [*lines, ("other", {"attribute", "value"}, content["other"])]:
        if not forms:
            raise UserError(f"{path}: '{line}' has no phrases")
        for form in forms:
            if wrong := _named(form) - names:
                raise UserError(f"{path}: '{form}' of '{line}' names {{{min(wrong)}}}, which does not change")
    there = frozenset(attributes)
    known = {
        " + ".join(name for name in attributes if name in names): forms
        for _, names, forms in lines
        if names <= there
    }
    join = content["join"]
    if not {"between", "last"} <= join.keys():
        raise UserError(f"{path}: 'join' needs the keys between and last")
    words = checked(content.get("words") or {}, dict[str, dict[str, str]], path, "file of phrases")
    held = (known, content["other"], join["between"], join["last"], content["caption"])
    return Phrases(tuple(attributes), *held, words)
