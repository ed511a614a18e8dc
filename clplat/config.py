"""Configuration: parts by name, their constructors' arguments by dotted path, YAML below the command line.

A *raw* configuration is what a person wrote: slots by name or mapping, dotted keys, values as texts. A
*resolved* one is a plain nested dict with every default filled in and every value checked::

    {"scenario": {"name": "catalogue", "domains": 5, ...}, "strategy": {"name": "replay", "size": 200, ...},
     "train": {"epochs": 4, ...}, ..., "seed": 0, "device": "cpu"}
"""

from __future__ import annotations

import inspect
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import yaml

from clplat import registry
from clplat.errors import UserError, nearest
from clplat.options import Argument, arguments, in_words, typed
from clplat.space import Choice, Float, Int, Space

__all__ = [
    "SLOTS",
    "DataConfig",
    "EvaluationConfig",
    "build",
    "command_of",
    "help_on",
    "merge",
    "parse_arguments",
    "read_config",
    "resolve",
    "spaces",
]


@dataclass(frozen=True)
class Slot:
    """A place for one part: the registry that names it (None: one fixed constructor) and its default."""

    kind: str | None
    default: str


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
_GROUPS = ("train", "data", "evaluation")
_PLAIN = {
    "seed": Argument("seed", int, 0, "of everything random in the experiment", False),
    "device": Argument("device", str, "cpu", "where the model lives: cpu, cuda, cuda:1, ...", False),
}
#: Strategies that install adapters themselves: another adapter or prompt would train beside them.
_BRING_ADAPTERS = ("lora_per_domain",)


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

    def __post_init__(self) -> None:
        if self.batch_size < 1 or self.anchors < 1:
            raise ValueError(
                f"batch_size and anchors must be at least 1, not {self.batch_size} and {self.anchors}"
            )


@dataclass(frozen=True)
class DataConfig:
    """How pictures and texts are prepared, whatever the scenario.

    Args:
        preprocess: picture preparation; ``targetpad`` pads long pictures first (CLIP4Cir).
        long_texts: texts longer than the tokenizer's context are refused, or cut and reported.
    """

    preprocess: Literal["clip", "targetpad"] = "clip"
    long_texts: Literal["refuse", "cut"] = "refuse"


def _constructor(slot: str, name: str) -> Callable[..., Any] | None:
    if slot == "train":
        from clplat.continual.trainer import TrainConfig

        return TrainConfig
    if slot in _GROUPS:
        return DataConfig if slot == "data" else EvaluationConfig
    if slot == "backbone":
        from clplat.models.backbone import Backbone

        return Backbone.load
    if slot in _OPTIONAL and name == "none":
        return None
    constructor: Callable[..., Any] = registry.load(str(SLOTS[slot].kind), name)
    return constructor


def _arguments(slot: str, name: str = "") -> dict[str, Argument]:
    """The options ``<slot>.<argument>`` of one part or group, by dotted key."""
    constructor = _constructor(slot, name)
    found = arguments(constructor) if constructor is not None else ()
    return {f"{slot}.{a.name}": a for a in found if (slot, a.name) != ("backbone", "name")}


def _chosen(raw: Mapping[str, Any]) -> dict[str, str]:
    """Slot -> name of the part that fills it."""
    chosen = {slot: str(raw.get(slot, {}).get("name", entry.default)) for slot, entry in SLOTS.items()}
    if chosen["strategy"] in _BRING_ADAPTERS and "name" not in raw.get("adapter", {}):
        chosen["adapter"] = "none"
    return chosen


def _options(chosen: Mapping[str, str]) -> dict[str, Argument]:
    """All options that exist beside the names of the parts, by dotted key."""
    found: dict[str, Argument] = {}
    for slot, name in [*chosen.items(), *((group, "") for group in _GROUPS)]:
        found |= _arguments(slot, name)
    return found | _PLAIN


def _nested(value: Any) -> dict[str, Any]:
    """``{"strategy": "replay", "strategy.size": 3}`` -> ``{"strategy": {"name": "replay", "size": 3}}``."""
    if not isinstance(value, Mapping):
        raise UserError(f"a configuration is a mapping of slots, not {type(value).__name__}")
    out: dict[str, Any] = {}
    for key, entry in value.items():
        head, _, tail = str(key).partition(".")
        if tail:
            entry = _nested({tail: entry})
        elif head in SLOTS and not isinstance(entry, Mapping):
            entry = {"name": "none" if entry is None else entry}
        if not isinstance(entry, Mapping) or not isinstance(out.setdefault(head, {}), dict):
            out[head] = entry
        else:
            out[head].update(entry)
    return out


def merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Lay one raw configuration over another.

    A slot whose part changes forgets the arguments of the old part; arguments of no named part stay.
    """
    out, upper = _nested(below), _nested(above)
    for key, value in upper.items():
        held = out.get(key)
        if not isinstance(value, Mapping) or not isinstance(held, dict):
            out[key] = value
        elif key in SLOTS and "name" in held and value.get("name", held["name"]) != held["name"]:
            out[key] = dict(value)
        else:
            out[key] = {**held, **value}
    return out


def resolve(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Fill in every default and check every name, type and value, and that the parts go together.

    Args:
        raw: slots by name or mapping, dotted keys allowed: ``{"strategy": "replay", "strategy.size": 50}``.

    Raises:
        UserError: an unknown slot, part or argument (nearest ones offered), a value of the wrong type or out
            of range, parts that cannot be combined.
    """
    nested = _nested(raw)
    _check_shape(nested)
    chosen = _chosen(nested)
    options = _options(chosen)
    resolved: dict[str, Any] = {slot: {"name": name} for slot, name in chosen.items()}
    resolved |= {group: {} for group in _GROUPS}
    for key, option in options.items():
        slot, _, name = key.partition(".")
        if name:
            resolved[slot][name] = option.default
        else:
            resolved[slot] = option.default
    for slot, entry in nested.items():
        given = entry if isinstance(entry, Mapping) else {"": entry}
        for name, value in given.items():
            key = f"{slot}.{name}".rstrip(".")
            if key in options:
                try:
                    fit = typed(options[key].type, value)
                except ValueError as error:
                    raise UserError(f"option '{key}' {error}") from None
                if name:
                    resolved[slot][name] = fit
                else:
                    resolved[slot] = fit
            elif name != "name" or slot not in SLOTS:
                raise _unknown(key, options, f"{slot} '{chosen[slot]}'" if slot in SLOTS else slot)
    for key, option in options.items():
        slot, _, name = key.partition(".")
        if option.required and resolved[slot][name] is None:
            raise UserError(f"{slot} '{chosen[slot]}' needs --{key} ({option.help or in_words(option.type)})")
    _check_parts(resolved)
    return resolved


def _check_shape(nested: Mapping[str, Any]) -> None:
    for key, entry in nested.items():
        if key in _GROUPS and not isinstance(entry, Mapping):
            raise UserError(f"option '{key}' takes options of its own, such as --{key}.{_first(key)}")
        if key in _PLAIN and isinstance(entry, Mapping):
            raise UserError(f"option '{key}' takes {in_words(_PLAIN[key].type)}, not a mapping")
        name = entry.get("name", "") if key in SLOTS else ""
        if not isinstance(name, str | int | float):
            raise UserError(f"option '{key}' takes the name of a part, not {name!r}")
        if key not in (*SLOTS, *_GROUPS, *_PLAIN):
            raise _unknown(key, _options(_chosen(nested)), "")


def _first(group: str) -> str:
    return next(iter(_arguments(group))).partition(".")[2]


def _unknown(key: str, options: Mapping[str, Any], of: str) -> UserError:
    """The nearest options: of the same slot, or of the same name in any slot."""
    top = [*SLOTS, *_GROUPS, *_PLAIN]
    slot, _, name = key.partition(".")
    siblings = [k for k in options if k.startswith(f"{slot}.")]
    if slot in (*SLOTS, *_GROUPS):
        allowed = ", ".join(k.partition(".")[2] for k in siblings) or "none"
        near = nearest(name, [k.partition(".")[2] for k in siblings]).replace("'", f"'{slot}.", 1)
        return UserError(f"unknown option '{key}' of {of}{near} (allowed: {allowed})")
    elsewhere = [k for k in options if k.partition(".")[2] == (name or slot)]
    near = f"; did you mean '{elsewhere[0]}'?" if elsewhere else nearest(key, [*top, *options])
    return UserError(f"unknown option '{key}'{near} (allowed: {', '.join(top)} and their options)")


def _check_parts(config: Mapping[str, Any]) -> None:
    """Build every part that is cheap to build, so that a wrong value is told before anything runs."""
    parts = {slot: build(config, slot) for slot in (*SLOTS, *_GROUPS) if slot != "backbone"}
    strategy, composer = config["strategy"]["name"], config["composer"]["name"]
    for slot in _OPTIONAL:
        if strategy in _BRING_ADAPTERS and parts[slot] is not None:
            raise UserError(
                f"strategy '{strategy}' trains adapters of its own and cannot be combined with {slot} "
                f"'{config[slot]['name']}'; use --{slot} none"
            )
    if config["prompt"]["name"] == "context" and "text" not in parts["composer"].reads:
        raise UserError(
            f"prompt 'context' changes texts, which composer '{composer}' does not read: it would never be "
            "trained; choose another composer or --prompt none"
        )
    wanted = dict.fromkeys(("scale", "positive", "valid", "weights"))
    try:
        inspect.signature(parts["loss"]).bind(None, None, **wanted)
    except TypeError:
        raise UserError(
            f"loss '{config['loss']['name']}' cannot be trained on alone: it does not take queries and "
            f"candidates with {', '.join(wanted)}; strategies use it beside one that does, such as info_nce"
        ) from None


def parse_arguments(argv: Sequence[str], also: Sequence[str] = ()) -> dict[str, Any]:
    """A raw configuration from command-line words: ``--config file.yaml``, ``--slot NAME``, ``--slot.key VALUE``.

    Args:
        argv: the words; values stay texts, `resolve` reads them. Files come first, in order, then options.
        also: options that the command takes itself, offered when a word is nearly one of them.

    Raises:
        UserError: a word that is no option, an option without a value or given twice, an unreadable file.
    """
    files: list[Path] = []
    given: dict[str, str] = {}
    rest = list(argv)
    while rest:
        word = rest.pop(0)
        if not word.startswith("--"):
            raise UserError(
                f"unexpected word '{word}': options look like --strategy replay or --strategy.size 200"
            )
        key, equals, value = word[2:].partition("=")
        head = key.partition(".")[0]
        if head not in (*SLOTS, *_GROUPS, *_PLAIN, "config"):
            own = nearest(word.partition("=")[0], also)
            raise UserError(f"unknown option '{word}'{own}") if own else _unknown(key, _options(_chosen({})), "")
        if not equals:
            if not rest or rest[0].startswith("--"):
                raise UserError(f"option '--{key}' needs a value (one that begins with -- is given as --{key}=VALUE)")
            value = rest.pop(0)
        if key == "config":
            files.append(Path(value))
        elif key in given:
            raise UserError(f"option '--{key}' is given twice: {given[key]} and {value}")
        else:
            given[key] = value
    raw: dict[str, Any] = {}
    for file in files:
        raw = merge(raw, read_config(file))
    return merge(raw, given)


def read_config(path: Path) -> dict[str, Any]:
    """A raw configuration from a YAML file; the key ``about`` is for people and left out."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot read the configuration {path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    if isinstance(content, Mapping):
        content = {key: value for key, value in content.items() if key != "about"}
    try:
        return _nested(content or {})
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def build(config: Mapping[str, Any], slot: str) -> Any:
    """Make the part of a slot from a resolved configuration; ``None`` for an empty optional slot.

    A part whose argument ``seed`` is None is given the experiment's.

    Raises:
        UserError: the constructor refuses a value.
    """
    entry = dict(config[slot])
    name = entry.pop("name", "")
    constructor = _constructor(slot, name)
    if constructor is None:
        return None
    if "seed" in entry and entry["seed"] is None:
        entry["seed"] = config["seed"]
    try:
        return constructor(name, **entry) if slot == "backbone" else constructor(**entry)
    except (ValueError, TypeError) as error:
        raise UserError(f"{slot} '{name}': {error}" if name else f"{slot}: {error}") from error


def command_of(config: Mapping[str, Any]) -> str:
    """The shortest `clplat run` command that gives this configuration."""
    words = ["clplat", "run"]
    chosen = {slot: config[slot]["name"] for slot in SLOTS}
    usual = _chosen({"strategy": {"name": chosen["strategy"]}}) | {"strategy": SLOTS["strategy"].default}
    words += [word for slot, name in chosen.items() if name != usual[slot] for word in _words(slot, name, name)]
    for key, option in _options(chosen).items():
        slot, _, name = key.partition(".")
        value = config[slot][name] if name else config[slot]
        if value != option.default:
            words += _words(key, value, option.type)
    return shlex.join(words)


def _words(key: str, value: Any, kind: Any) -> list[str]:
    """An option as command-line words that `typed` reads as this value again."""
    quoted = yaml.safe_dump(value, default_flow_style=True, width=1 << 20).strip()
    text = value if isinstance(value, str) else quoted.removesuffix("\n...").strip()
    return [f"--{key}={text}"] if text.startswith("--") else [f"--{key}", text]


def spaces(config: Mapping[str, Any]) -> dict[str, Space]:
    """The annotated search spaces of all chosen parts, by dotted option."""
    found: dict[str, Space] = {}
    for key, option in _options({slot: config[slot]["name"] for slot in SLOTS}).items():
        if get_origin(option.type) is Annotated:
            marks = get_args(option.type)[1:]
            found.update({key: mark for mark in marks if isinstance(mark, Float | Int | Choice)})
    return found


def help_on(slot: str, name: str = "") -> str:
    """What a part is and which options it takes; without a name, what can be chosen for the slot."""
    if slot not in (*SLOTS, *_GROUPS):
        raise UserError(f"there is no help on '{slot}'{nearest(slot, [*SLOTS, *_GROUPS])}")
    kind = SLOTS[slot].kind if slot in SLOTS else None
    if kind and not name:
        width = max(map(len, registry.names(kind)))
        lines = [f"{part:{width}}  {registry.describe(kind, part)}" for part in registry.names(kind)]
        return "\n".join([*lines, f"options of one of them: --{slot}.help {registry.names(kind)[0]}"])
    constructor = _constructor(slot, name or SLOTS[slot].default if slot in SLOTS else "")
    lines = [(inspect.getdoc(constructor) or "").partition("\n\nArgs:")[0], ""]
    for key, option in _arguments(slot, name).items():
        default = "required" if option.required else f"default: {yaml.safe_dump(option.default).split(chr(10))[0]}"
        lines.append(f"--{key}  {in_words(option.type)} ({default})\n    {option.help}".rstrip())
    return "\n".join(lines)
