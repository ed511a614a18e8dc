"""YAML as it is read and written here: values are what they look like, and no key is lost.

The core schema of YAML 1.2: ``1:30``, ``yes`` and ``off`` are texts, ``010`` is ten, ``1e-3`` a number. Dates
stay texts, tags of Python are refused, and a key stands once in a mapping.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from clplat.errors import UserError

__all__ = ["read_yaml", "write_yaml", "yaml_of"]

#: Characters of a file, and values in it, aliases written out: far more than anybody writes, read in seconds.
LONGEST, MOST = 1_000_000, 50_000

_TAG = "tag:yaml.org,2002:"
_CORE = {
    f"{_TAG}null": r"~|null|Null|NULL|",
    f"{_TAG}bool": r"true|True|TRUE|false|False|FALSE",
    f"{_TAG}int": r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+",
    f"{_TAG}float": r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
    r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
    f"{_TAG}merge": r"<<",
}


class _Loader(yaml.SafeLoader):
    """Makes nodes with the tags of the core schema; `_Values` makes values of them."""

    yaml_implicit_resolvers: dict[Any, Any] = {}  # noqa: RUF012  (as it is declared above)
    nodes = 0

    def compose_node(self, parent: Node | None, index: Any) -> Node | None:
        self.nodes += 1
        if self.nodes > MOST:
            raise yaml.YAMLError(f"more than {MOST} values")
        node: Node | None = super().compose_node(parent, index)
        return node


class _Dumper(yaml.SafeDumper):
    """Quotes what this or an older schema of YAML would not take for a text."""


for _tag, _pattern in _CORE.items():
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(_tag, re.compile(f"^(?:{_pattern})$"), None)


def read_yaml(path: Path, what: str) -> Any:
    """The content of a YAML file.

    Args:
        what: is read, for the error: ``"the plan"``.

    Raises:
        UserError: it cannot be read, is no YAML, or gives a key twice; with the line.
    """
    try:
        with path.open(encoding="utf-8") as file:  # which may be a device without an end
            return yaml_of(file.read(LONGEST + 1))
    except OSError as error:
        raise UserError(f"cannot read {what} {path}: {error.strerror}") from None
    except ValueError as error:
        raise UserError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None


def yaml_of(text: str) -> Any:
    """The value of a text in YAML; None of an empty one.

    Raises:
        ValueError: it is no YAML, gives a key twice, or is too long or too deep; with the line.

    Example:
        >>> yaml_of("{lr: 1e-3, at: 1:30, domains: [no, on]}")
        {'lr': 0.001, 'at': '1:30', 'domains': ['no', 'on']}
    """
    if len(text) > LONGEST:
        raise ValueError(f"more than {LONGEST} characters")
    try:
        node = yaml.compose(text, _Loader)
        return None if node is None else _Values().of(node)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        what = getattr(error, "problem", None) or str(error)
        raise ValueError(f"line {mark.line + 1}: {what}" if mark else what) from None


def write_yaml(value: Any) -> str:
    """Plain data as YAML, in the order of its keys, that every reader of YAML reads as it was."""
    text: str = yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True)
    return text


class _Values:
    """The values of nodes; an alias counts as often as it is used."""

    def __init__(self) -> None:
        self.count, self.above = 0, set[int]()

    def of(self, node: Node) -> Any:
        self.count += 1
        if self.count > MOST:
            raise _problem(f"more than {MOST} values", node.start_mark)
        if isinstance(node, ScalarNode):
            return _scalar(node)
        if id(node) in self.above:
            raise _problem("a value contains itself", node.start_mark)
        self.above.add(id(node))
        if isinstance(node, SequenceNode) and node.tag == f"{_TAG}seq":
            found: Any = [self.of(part) for part in node.value]
        elif isinstance(node, MappingNode) and node.tag == f"{_TAG}map":
            found = self._mapping(node)
        else:
            raise _problem(f"the tag {node.tag} is not for plain data", node.start_mark)
        self.above.remove(id(node))
        return found

    def _mapping(self, node: MappingNode) -> dict[Hashable, Any]:
        below: dict[Hashable, Any] = {}
        own: dict[Hashable, Any] = {}
        lines: dict[Hashable, int] = {}
        for name, part in node.value:
            if not isinstance(name, ScalarNode):
                raise _problem("a key is a text or a number, not a list or mapping", name.start_mark)
            if name.tag == f"{_TAG}merge":
                for each in part.value if isinstance(part, SequenceNode) else [part]:
                    if not isinstance(each, MappingNode):
                        raise _problem("<< takes a mapping or a list of them", part.start_mark)
                    below = self.of(each) | below
                continue
            key = _scalar(name)
            if key in own:
                raise _problem(f"'{key}' is given twice, in line {lines[key]} too", name.start_mark)
            lines[key] = name.start_mark.line + 1
            own[key] = self.of(part)
        return below | own


def _scalar(node: ScalarNode) -> Any:
    text: str = node.value
    kind = node.tag.removeprefix(_TAG)
    if kind in ("str", "merge"):
        return text
    if not re.fullmatch(_CORE.get(node.tag, "(?!)"), text):
        raise _problem(f"'{text[:40]}' is not of the tag {node.tag}", node.start_mark)
    if kind == "int":
        return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))
    if kind == "float":
        return float(re.sub(r"\.(?=inf|nan)", "", text.lower()))
    return None if kind == "null" else text.lower() == "true"


def _problem(what: str, mark: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=what, problem_mark=mark)
