"""Configuration: parts by name, their constructors' arguments by dotted path, YAML below the command line.

A *raw* configuration is as it was written: nested or dotted, with gaps (`clplat.config.parse`). `resolve`
makes a `Config` of it, once; everything below is handed that.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Annotated, Any, get_args, get_origin

import yaml

from clplat.config.annotations import Slot
from clplat.config.fill import filled, grouped
from clplat.config.groups import GROUPS
from clplat.config.options import coerce
from clplat.config.raw import unflatten
from clplat.config.resolved import Config
from clplat.config.slots import PLAIN, chosen_parts, unknown_option
from clplat.config.source import refuse_by_source
from clplat.config.space import Choice, Float, Int, Space
from clplat.dotted import registered_only
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
    given = unflatten(raw)
    for key in given:
        if key not in (*KINDS, *GROUPS, *PLAIN):
            raise unknown_option(key)
    config = _filled(given)
    _check_parts(config)
    return config


def _filled(given: Mapping[str, Any]) -> Config:
    """A configuration of which no part is made yet."""
    for slot in KINDS:
        if not isinstance(name := given.get(slot, {}).get("name", ""), str):
            raise UserError(f"option '{slot}' takes the name of a part, not {name!r}")
    rest = {name: _group(name, given.get(name, {})) for name in GROUPS}  # before parts, which are imported
    rest |= {name: _plain(name, given) for name in PLAIN}
    refuse_by_source(given)
    chosen = chosen_parts(given)
    parts = {
        slot: filled(Slot.of(kind), {**given.get(slot, {}), "name": chosen[slot]}, slot)
        for slot, kind in KINDS.items()
    }
    return Config(parts, **rest)


def _group(name: str, given: Any) -> Any:
    options = grouped(GROUPS[name], given, name).options
    try:
        return GROUPS[name](**options)
    except (ValueError, TypeError) as error:
        raise UserError(f"{name}: {error}") from error


def _plain(name: str, given: Mapping[str, Any]) -> Any:
    if name not in given:
        return PLAIN[name].default
    try:
        return coerce(PLAIN[name].type, given[name])
    except ValueError as error:
        raise UserError(f"option '{name}' {error}") from None


def completed(written: Mapping[str, Any]) -> dict[str, Any]:
    """What an older release recorded as resolved, with the defaults of slots and options that it lacks."""
    try:
        with registered_only("the record of a run"):
            usual = _filled(unflatten(written)).as_dict()
    except UserError:  # a part or an option that is gone: what is known of it is what was written
        usual = _filled({}).as_dict()
    return {**usual, **{key: _over(usual.get(key), value) for key, value in written.items()}}


def _over(below: Any, above: Any) -> Any:
    if (
        not isinstance(below, Mapping)
        or not isinstance(above, Mapping)
        or below.get("name") != above.get("name")
    ):
        return above
    return {**below, **{key: _over(below.get(key), value) for key, value in above.items()}}


def _check_parts(config: Config) -> None:
    """Build every part that is cheap to build, so that a wrong value is reported before anything runs."""
    parts = {slot: config.make(slot) for slot, kind in KINDS.items() if kind.plural}
    for slot in parts["strategy"].brings:
        if parts[slot] is not None:
            raise UserError(
                f"strategy '{config.name('strategy')}' trains adapters of its own, which cannot be combined "
                f"with {slot} '{config.name(slot)}'; use --{slot} none"
            )
    _check_reference(config, parts["strategy"], parts["reference"])
    own = parts["strategy"].replaces_task_loss or parts["composer"].objectives
    _check_loss(config.name("loss"), parts["loss"], config.name("strategy"), bool(own))


def _check_reference(config: Config, strategy: Any, reference: Any) -> None:
    """Data beside the stream is there exactly where the strategy learns from it."""
    name = config.name("strategy")
    if strategy.reads_reference and reference is None:
        raise UserError(f"strategy '{name}' learns from data beside the stream: name it, --reference NAME")
    if reference is not None and not strategy.reads_reference:
        raise UserError(
            f"reference '{config.name('reference')}' would never be used: strategy '{name}' does not learn "
            "from data beside the stream"
        )


def _check_loss(name: str, loss: Any, strategy: str, own: bool) -> None:
    """The slot holds what a model can be trained on, unless its parts have objectives of their ``own``."""
    if loss is None and not own:
        raise UserError(
            f"strategy '{strategy}' does not replace the task's loss, so that loss 'none' leaves "
            "nothing to train on; use a loss, such as info_nce"
        )
    wanted = getattr(loss, "wanted", None if loss is not None else ())
    if wanted is None or "teacher" in wanted:
        why = "it is no clplat.parts.Loss" if wanted is None else "it wants a teacher, which a strategy has"
        raise UserError(
            f"loss '{name}' cannot be what a model is trained on: {why}; use another loss, such as info_nce"
        )


def command_of(config: Config) -> str:
    """The shortest `clplat run` command that gives this configuration."""
    usual = chosen_parts({"strategy": {"name": config.name("strategy")}})
    usual["strategy"] = KINDS["strategy"].default
    words = ["clplat", "run"]
    for slot, name in config.names.items():
        words += words_of(slot, name) if name != usual[slot] else []
    for key, argument, value in config.options():
        words += words_of(key, value) if value != argument.default else []
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
    for key, argument, _ in config.options():
        for mark in get_args(argument.type)[1:] if get_origin(argument.type) is Annotated else ():
            if isinstance(mark, Float | Int | Choice):
                found[key] = mark
    return found
