"""The table of methods against PEFT: what a release brings is offered, or it is said why not."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable
from typing import Any, get_args, get_type_hints

import peft
import pytest
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

from clplat.parts.adapters.peft import METHODS, PARTS, UNSUITABLE

#: Of LoRA's configuration: how it is run, and what is an option of its own.
PLAIN = {"runtime", "megatron"}


def unexplained(kinds: dict[str, str], starts: Iterable[str], variants: Iterable[str]) -> set[str]:
    """What is neither offered nor explained.

    Args:
        kinds: of tuners, with the name of their configuration.
        starts: ways in which LoRA can start; variants: fields of LoRA that choose one.
    """
    rows = [*METHODS.values()]
    offered = {kind for kind, config in kinds.items() if config in {row.config for row in rows}}
    offered |= {str(row.fixed.get("init_lora_weights")) for row in rows}
    chosen = {row.nested[0] for row in rows if row.nested} | {key for row in rows for key in row.fixed}
    offered |= {_short(field) for field in chosen}
    return ({*kinds} | {*starts} | {*map(_short, variants)}) - offered - UNSUITABLE.keys() - PLAIN


def _short(field: str) -> str:
    return re.sub(r"^use_|_config$|_invocation_tokens$", "", field)


def of_this_release() -> dict[str, Any]:
    hint = get_type_hints(peft.LoraConfig)["init_lora_weights"]
    starts = {value for part in get_args(hint) for value in get_args(part)}
    fields = [field.name for field in dataclasses.fields(peft.LoraConfig)]
    return {
        "kinds": {kind.name.lower(): made.__name__ for kind, made in PEFT_TYPE_TO_CONFIG_MAPPING.items()},
        "starts": [re.sub(r"_\[.*", "", start) for start in starts],
        "variants": [name for name in fields if re.search("^use_|_config$|_tokens$", name)],
    }


def test_what_this_release_of_peft_brings_is_offered_or_explained() -> None:
    found = unexplained(**of_this_release())
    assert not found, f"PEFT brings {', '.join(sorted(found))}: a row of METHODS, or a reason in UNSUITABLE"


@pytest.mark.parametrize(
    ("where", "what", "name"),
    [
        ("kinds", {"newlora": "NewLoraConfig"}, "newlora"),
        ("starts", ["newstart"], "newstart"),
        ("variants", ["new_config"], "new"),
        ("variants", ["use_newer"], "newer"),
    ],
)
def test_another_release_would_be_noticed(where: str, what: Any, name: str) -> None:
    brought = of_this_release()
    brought[where] = {**brought[where], **what} if isinstance(what, dict) else [*brought[where], *what]
    assert unexplained(**brought) == {name}


def test_what_is_explained_exists_and_is_not_offered() -> None:
    brought = of_this_release()
    known = {*brought["kinds"], *brought["starts"], *map(_short, brought["variants"])}
    assert UNSUITABLE.keys() - known == set()
    assert {name: row.name for name, row in METHODS.items()} == PARTS
