"""Configuration: parts by name, their constructors' arguments by dotted path, YAML below the command line.

A resolved configuration is a plain nested dict, one entry a slot::

    {"scenario": {"name": "catalogue", "domains": 5, ...}, "strategy": {"name": "replay", "size": 200, ...},
     "train": {"epochs": 4, ...}, "seed": 0, ...}

Types, defaults and help come from the constructors' signatures; jsonargparse checks them.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import yaml

from clplat import registry
from clplat.errors import UserError, nearest
from clplat.space import Choice, Float, Int, Space

__all__ = [
    "SLOTS",
    "DataConfig",
    "EvaluationConfig",
    "build",
    "command_of",
    "merge",
    "parameters",
    "parse_arguments",
    "resolve",
    "spaces",
]


@dataclass(frozen=True)
class Slot:
    """A place for one part: the registry that names it (None: one fixed constructor) and its default."""

    kind: str | None
    default: str | None


SLOTS: dict[str, Slot] = {
    "scenario": Slot("scenarios", "catalogue"),
    "backbone": Slot(None, "clplat-tiny"),
    "adapter": Slot("adapters", "full"),
    "prompt": Slot("prompts", "none"),
    "composer": Slot("composers", "sum"),
    "projection": Slot("projections", "identity"),
    "loss": Slot("losses", "info_nce"),
    "strategy": Slot("strategies", "naive"),
}
_OPTIONAL = ("adapter", "prompt")
_GROUPS = ("data", "train", "evaluation")


@dataclass(frozen=True)
class EvaluationConfig:
    """How every model version is measured.

    Args:
        split: the queries and galleries that fill R: ``test``, or ``val`` while tuning.
        batch_size: pictures or queries a forward pass.
        anchors: training pictures, at most, on which a projection between two versions is fitted.
    """

    split: Literal["test", "val"] = "test"
    batch_size: int = 256
    anchors: int = 1024


@dataclass(frozen=True)
class DataConfig:
    """How pictures and texts are prepared, whatever the scenario.

    Args:
        preprocess: picture preparation; ``targetpad`` pads long pictures first (CLIP4Cir).
        long_texts: texts longer than the tokenizer's context are refused, or cut and reported.
    """

    preprocess: Literal["clip", "targetpad"] = "clip"
    long_texts: Literal["refuse", "cut"] = "refuse"


@dataclass(frozen=True)
class Parameter:
    """One constructor argument: its dotted key, type, default and help."""

    key: str
    type: Any
    default: Any
    help: str
    required: bool


def _constructor(slot: str, name: str) -> Callable[..., Any] | None:
    if slot == "backbone":
        from clplat.models.backbone import Backbone

        return Backbone.load
    kind = SLOTS[slot].kind
    if slot in _OPTIONAL and name == "none":
        return None
    assert kind is not None
    constructor: Callable[..., Any] = registry.load(kind, name)
    return constructor


def _group(name: str) -> type:
    if name in ("data", "evaluation"):
        return DataConfig if name == "data" else EvaluationConfig
    from clplat.continual.trainer import TrainConfig

    return TrainConfig


def _help(constructor: Callable[..., Any]) -> dict[str, str]:
    """The ``Args:`` section of a docstring, by argument."""
    section = re.search(
        r"^Args:\n((?:[ \t]+.*\n?|\n)+)", (inspect.getdoc(constructor) or "") + "\n", re.MULTILINE
    )
    found: dict[str, str] = {}
    last = ""
    for line in section.group(1).splitlines() if section else []:
        match = re.match(r"^ {4}(\w+)[^:]*: (.*)$", line)
        if match:
            last = match.group(1)
            found[last] = match.group(2).strip()
        elif last and line.startswith("      "):
            found[last] += " " + line.strip()
    return found


def parameters(slot: str, constructor: Callable[..., Any] | None) -> list[Parameter]:
    """The arguments of a part, as options ``<slot>.<argument>``."""
    if constructor is None:
        return []
    target = constructor.__init__ if isinstance(constructor, type) else constructor  # type: ignore[misc]
    explicit = "__signature__" in vars(constructor) if isinstance(constructor, type) else False
    hints = {} if explicit else get_type_hints(target, include_extras=True)
    text = _help(constructor)
    out = []
    for name, argument in inspect.signature(constructor).parameters.items():
        if name in ("self", "cls") or (slot == "backbone" and name == "name"):
            continue
        if argument.kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD):
            continue
        required = argument.default is inspect.Parameter.empty
        kind = hints.get(name, argument.annotation)
        default = None if required else argument.default
        out.append(Parameter(f"{slot}.{name}", kind, default, text.get(name, ""), required))
    return out


def _chosen(raw: Mapping[str, Any]) -> dict[str, str]:
    """Slot -> name of the part that fills it."""
    return {slot: str(raw.get(slot, {}).get("name") or entry.default) for slot, entry in SLOTS.items()}


def _parameters(raw: Mapping[str, Any]) -> list[Parameter]:
    found = [Parameter("seed", int, 0, "of everything random in the experiment", False)]
    found.append(Parameter("device", str, "cpu", "where the model lives: cpu, cuda, cuda:1, ...", False))
    for slot, name in _chosen(raw).items():
        kind = SLOTS[slot].kind
        word = (
            f"one of: {', '.join(registry.names(kind))}"
            if kind
            else "clplat-tiny, an open_clip name or local-dir:PATH"
        )
        found.append(Parameter(f"{slot}.name", str, SLOTS[slot].default, word, False))
        found += parameters(slot, _constructor(slot, name))
    for group in _GROUPS:
        found += parameters(group, _group(group))
    return found


def _parser(raw: Mapping[str, Any]) -> Any:
    from jsonargparse import ArgumentParser

    parser = ArgumentParser(prog="clplat run", exit_on_error=False)
    for p in _parameters(raw):
        parser.add_argument(f"--{p.key}", type=p.type, default=p.default, help=p.help or " ")
    return parser


def _nested(value: Any) -> dict[str, Any]:
    """``{"strategy": "replay", "strategy.size": 3}`` -> ``{"strategy": {"name": "replay", "size": 3}}``."""
    if not isinstance(value, Mapping):
        raise UserError(f"a configuration is a mapping of slots, not {type(value).__name__}")
    out: dict[str, Any] = {}
    for key, entry in value.items():
        head, _, tail = str(key).partition(".")
        if tail:
            out.setdefault(head, {}).update(_nested({tail: entry}))
        elif head in SLOTS and not isinstance(entry, Mapping):
            out.setdefault(head, {})["name"] = "none" if entry is None else str(entry)
        elif isinstance(entry, Mapping):
            out.setdefault(head, {}).update(entry)
        else:
            out[head] = entry
    return out


def merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Lay one raw configuration over another; a slot whose part changes forgets the arguments of the old one."""
    out = {key: dict(value) if isinstance(value, Mapping) else value for key, value in below.items()}
    for key, value in above.items():
        if not isinstance(value, Mapping) or not isinstance(out.get(key), dict):
            out[key] = value
        elif value.get("name", out[key].get("name")) != out[key].get("name"):
            out[key] = dict(value)
        else:
            out[key].update(value)
    return out


def _clear(error: Exception, keys: Sequence[str]) -> UserError:
    """One line from what jsonargparse says."""
    text = re.sub(r"\s+", " ", str(error)).strip()
    unknown = re.search(r"Option '([\w.\-]+)' is not accepted|unrecognized arguments: --([\w.\-]+)", text)
    if unknown:
        key = unknown.group(1) or unknown.group(2)
        slot = key.split(".")[0]
        siblings = [k for k in keys if k.startswith(slot + ".") and k != f"{slot}.name"] or list(keys)
        return UserError(
            f"unknown option '{key}'{nearest(key, keys)} (allowed: {', '.join(sorted(siblings))})"
        )
    wrong = re.search(r'[Kk]ey "([\w.\-]+)": (.*)$', text)
    if wrong:
        said = re.sub(r"<class '([\w.]+)'>", r"\1", wrong.group(2)).replace("typing.", "")
        return UserError(f"option '{wrong.group(1)}': {said[0].lower()}{said[1:]}")
    return UserError(text)


def resolve(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Fill in every default and check every type.

    Args:
        raw: slots by name or mapping, dotted keys allowed: ``{"strategy": "replay", "strategy.size": 50}``.

    Raises:
        UserError: an unknown slot, part or argument (nearest ones offered), or a value of the wrong type.
    """
    nested = _nested(raw)
    allowed = [*SLOTS, *_GROUPS, "seed", "device"]
    for key in nested:
        if key not in allowed:
            raise UserError(f"unknown option '{key}'{nearest(key, allowed)} (allowed: {', '.join(allowed)})")
    for key in (*SLOTS, *_GROUPS):
        if key in nested and not isinstance(nested[key], Mapping):
            raise UserError(f"option '{key}' takes a name or a mapping, not {nested[key]!r}")
    found = _parameters(nested)
    parser = _parser(nested)
    try:
        parsed = parser.parse_object(nested).as_dict()
    except Exception as error:
        if isinstance(error, UserError):
            raise
        raise _clear(error, [p.key for p in found]) from None
    for p in found:
        slot, _, name = p.key.partition(".")
        if p.required and parsed[slot].get(name) is None:
            raise UserError(f"{slot} '{parsed[slot].get('name', '')}' needs --{p.key}")
    resolved: dict[str, Any] = parsed
    return resolved


def parse_arguments(argv: Sequence[str]) -> dict[str, Any]:
    """A raw configuration from command-line words: ``--config file.yaml``, ``--slot NAME``, ``--slot.key VALUE``."""
    words: list[tuple[str, str]] = []
    rest = list(argv)
    while rest:
        word = rest.pop(0)
        if not word.startswith("--"):
            raise UserError(
                f"unexpected word '{word}': options look like --strategy replay or --strategy.size 200"
            )
        key, equals, value = word[2:].partition("=")
        if not equals:
            if not rest or (rest[0].startswith("--")):
                raise UserError(f"option '--{key}' needs a value")
            value = rest.pop(0)
        words.append((key, value))
    raw: dict[str, Any] = {}
    for key, value in words:
        if key == "config":
            raw = merge(raw, read_config(Path(value)))
    given: dict[str, Any] = {}
    for key, value in words:
        if key == "config":
            continue
        given[f"{key}.name" if key in SLOTS else key] = value
    names = _nested({key: value for key, value in given.items() if key.endswith(".name")})
    base = merge(raw, names)
    parser = _parser(base)
    try:
        tokens = [part for key, value in given.items() for part in (f"--{key}={value}",)]
        parsed = parser.parse_args(tokens, defaults=False).as_dict()
    except UserError:
        raise
    except Exception as error:
        raise _clear(error, [p.key for p in _parameters(base)]) from None
    return merge(base, parsed)


def read_config(path: Path) -> dict[str, Any]:
    """A raw configuration from a YAML file."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot read the configuration {path}: {error.strerror}") from None
    except yaml.YAMLError as error:
        raise UserError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    if isinstance(content, Mapping):
        # A recipe says what it is about beside the slots.
        content = {key: value for key, value in content.items() if key != "about"}
    return _nested(content or {})


def build(config: Mapping[str, Any], slot: str) -> Any:
    """Make the part of a slot from a resolved configuration; ``None`` for an empty optional slot.

    A part whose argument ``seed`` is None is given the experiment's.
    """
    entry = dict(config[slot])
    name = entry.pop("name", slot)
    constructor = _group(slot) if slot in _GROUPS else _constructor(slot, name)
    if constructor is None:
        return None
    if "seed" in entry and entry["seed"] is None:
        entry["seed"] = config["seed"]
    try:
        return constructor(name, **entry) if slot == "backbone" else constructor(**entry)
    except (ValueError, TypeError) as error:
        raise UserError(f"{slot} '{name}': {error}") from error


def command_of(config: Mapping[str, Any]) -> str:
    """The shortest `clplat run` command that gives this configuration."""
    import shlex

    words = ["clplat run"]
    defaults = {p.key: p.default for p in _parameters(config)}
    for slot in SLOTS:
        if config[slot].get("name") != SLOTS[slot].default:
            words.append(f"--{slot} {shlex.quote(str(config[slot]['name']))}")
    for key, default in defaults.items():
        slot, _, name = key.partition(".")
        value = config[slot].get(name) if name else config[slot]
        if name == "name" or value == default:
            continue
        text = yaml.safe_dump(value, default_flow_style=True).strip().removesuffix("\n...").strip()
        words.append(f"--{key} {shlex.quote(text)}")
    return " ".join(words)


def spaces(config: Mapping[str, Any]) -> dict[str, Space]:
    """The annotated search spaces of all chosen parts, by dotted option."""
    found: dict[str, Space] = {}
    for p in _parameters(config):
        if get_origin(p.type) is Annotated:
            found.update(
                {p.key: mark for mark in get_args(p.type)[1:] if isinstance(mark, Float | Int | Choice)}
            )
    return found


def help_on(slot: str, name: str) -> str:
    """What a part is and which options it takes, for the terminal."""
    if slot in _GROUPS:
        constructor: Callable[..., Any] | None = _group(slot)
    elif slot in SLOTS:
        chosen = name or SLOTS[slot].default or ""
        constructor = _constructor(slot, chosen)
    else:
        raise UserError(f"there is no help on '{slot}'{nearest(slot, [*SLOTS, *_GROUPS])}")
    lines = [(inspect.getdoc(constructor) or "").split("\n\nArgs:")[0], ""]
    for p in parameters(slot, constructor):
        kind = re.sub(r"<class '([\w.]+)'>|typing\.", r"\1", str(p.type)).removeprefix("Annotated")
        default = "required" if p.required else f"default: {p.default}"
        lines.append(f"--{p.key}  {kind} ({default})\n    {p.help}".rstrip())
    return "\n".join(lines)
