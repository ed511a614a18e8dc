"""Configuration: parts by name, their constructors' arguments by dotted path, YAML below the command line.

A *raw* configuration is as it was written: nested or dotted, with gaps (`clplat.config.parse`). `resolve`
makes a `Config` of it, once; everything below is handed that.
"""

from __future__ import annotations

import inspect
import json
import shlex
from collections.abc import Mapping
from typing import Annotated, Any, get_args, get_origin

import yaml

from clplat.config.groups import GROUPS
from clplat.config.options import coerce
from clplat.config.raw import unflatten
from clplat.config.resolved import Config, Part
from clplat.config.slots import PLAIN, chosen_parts, options_of, options_of_all, unknown_option
from clplat.config.space import Choice, Float, Int, Space
from clplat.errors import UserError
from clplat.kinds import KINDS


def resolve(raw: Mapping[str, Any] | Config) -> Config:
    """Fill in every default and check every name, type and value, and that the parts go together.

    Args:
        raw: slots by name or mapping, dotted keys allowed: ``{"strategy": "replay", "strategy.size": 50}``.
            What is resolved already is handed back.

    Raises:
        UserError: an unknown slot, part or option (nearest ones offered), a value of the wrong type or out
            of range, parts that cannot be combined.
    """
    if isinstance(raw, Config):
        return raw
    given = _flat(unflatten(raw))
    chosen = chosen_parts({key.partition(".")[0]: {"name": v} for key, v in given.items() if _names(key)})
    options = options_of_all(chosen)
    values = {key: option.default for key, option in options.items()}
    for key, value in given.items():
        if _names(key):
            continue
        if key not in options:
            raise unknown_option(key, chosen)
        try:
            values[key] = coerce(options[key].type, value)
        except ValueError as error:
            raise UserError(f"option '{key}' {error}") from None
    for key, value in values.items():
        slot = key.partition(".")[0]
        if options[key].required and value is None:
            raise UserError(f"{slot} '{chosen[slot]}' needs --{key}: {options[key].help or 'no default'}")
    config = Config(
        {slot: Part(name, _of(slot, values)) for slot, name in chosen.items()},
        **{name: _group(name, _of(name, values)) for name in GROUPS},
        **{name: values[name] for name in PLAIN},
    )
    _check_parts(config)
    return config


def _of(slot: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """The options of one slot or group, without their prefix."""
    return {key.partition(".")[2]: value for key, value in values.items() if key.startswith(f"{slot}.")}


def _group(name: str, values: Mapping[str, Any]) -> Any:
    try:
        return GROUPS[name](**values)
    except (ValueError, TypeError) as error:
        raise UserError(f"{name}: {error}") from error


def completed(written: Mapping[str, Any]) -> dict[str, Any]:
    """What an older release recorded as resolved, with the defaults of slots and options that it lacks."""
    raw = unflatten(written)
    try:
        options = options_of_all(chosen_parts(raw))
    except UserError:  # a part that is gone: what is known of it is what was written
        return {**resolve({}).as_dict(), **written}
    defaults = {slot: {"name": KINDS[slot].default} for slot in KINDS if KINDS[slot].always}
    for key, option in options.items():
        slot, _, name = key.partition(".")
        if name and (slot in raw or slot in defaults or slot in GROUPS):
            defaults.setdefault(slot, {})[name] = option.default
        elif not name:
            defaults[slot] = option.default
    return {key: _over(defaults.get(key), raw.get(key, defaults.get(key))) for key in {**defaults, **raw}}


def _over(below: Any, above: Any) -> Any:
    return {**below, **above} if isinstance(below, dict) and isinstance(above, dict) else above


def _names(key: str) -> bool:
    """Whether this key holds the name of a part."""
    slot, _, name = key.partition(".")
    return slot in KINDS and name == "name"


def _flat(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Values by dotted key, ``<slot>.name`` for the parts' names."""
    flat: dict[str, Any] = {}
    for slot, entry in raw.items():
        if slot in GROUPS and not isinstance(entry, Mapping):
            example = next(iter(options_of(slot)))
            raise UserError(f"option '{slot}' takes options of its own, such as --{example}")
        if slot in (*KINDS, *GROUPS):
            flat |= {f"{slot}.{name}": value for name, value in entry.items()}
        else:
            flat[slot] = entry
    for key, value in flat.items():
        if _names(key) and not isinstance(value, str):
            raise UserError(f"option '{key.partition('.')[0]}' takes the name of a part, not {value!r}")
    return flat


def _check_parts(config: Config) -> None:
    """Build every part that is cheap to build, so that a wrong value is reported before anything runs."""
    parts = {slot: config.make(slot) for slot, kind in KINDS.items() if kind.plural}
    for slot in parts["strategy"].brings:
        if parts[slot] is not None:
            raise UserError(
                f"strategy '{config.name('strategy')}' trains adapters of its own, which cannot be combined "
                f"with {slot} '{config.name(slot)}'; use --{slot} none"
            )
    wanted = dict.fromkeys(("scale", "positive", "valid", "weights"))
    try:
        inspect.signature(parts["loss"]).bind(None, None, **wanted)
    except TypeError:
        raise UserError(
            f"loss '{config.name('loss')}' cannot be what a model is trained on: it does not take queries "
            f"and candidates with {', '.join(wanted)}; use another loss, such as info_nce"
        ) from None


def command_of(config: Config) -> str:
    """The shortest `clplat run` command that gives this configuration."""
    usual = chosen_parts({"strategy": {"name": config.name("strategy")}})
    usual["strategy"] = KINDS["strategy"].default
    words = ["clplat", "run"]
    for slot, name in config.names.items():
        words += words_of(slot, name) if name != usual[slot] else []
    for key, option in options_of_all(config.names).items():
        value = config.option(key)
        words += words_of(key, value) if value != option.default else []
    return shlex.join(words)


def words_of(key: str, value: Any) -> list[str]:
    """An option as command-line words that are read as this value again."""
    if isinstance(value, Mapping | list):
        # JSON, because YAML leaves texts bare that another reader of YAML takes for numbers.
        return [f"--{key}", json.dumps(value, ensure_ascii=False)]
    quoted = yaml.safe_dump(value, width=1 << 20).strip()
    text = value if isinstance(value, str) else quoted.removesuffix("\n...").strip()
    return [f"--{key}={text}"] if text.startswith("--") else [f"--{key}", text]


def spaces(config: Config) -> dict[str, Space]:
    """The annotated search spaces of all chosen parts, by dotted option."""
    found: dict[str, Space] = {}
    for key, option in options_of_all(config.names).items():
        for mark in get_args(option.type)[1:] if get_origin(option.type) is Annotated else ():
            if isinstance(mark, Float | Int | Choice):
                found[key] = mark
    return found
