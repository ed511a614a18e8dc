"""Folders that PEFT wrote by itself: which of our methods they hold, with which options."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from clplat.errors import UserError
from clplat.models.backbone import Backbone
from clplat.parts.adapters._methods import METHODS
from clplat.parts.adapters._peft import CONFIG, PeftAdapter
from clplat.parts.adapters._targets import tower_of, wrappable
from clplat.parts.adapters._wrapping import quiet

__all__ = ["found_in"]

# What may differ from our configuration: notes, which modules (found here), how values begin that are read.
_FREE = re.compile(
    r"target_modules|exclude_modules|feedforward_modules|layers_.*|inference_mode|peft_version|task_type"
    r"|auto_mapping|base_model_name_or_path|revision|init_(\w+_)?weights|.*_config|runtime_.*|megatron_core"
    r"|total_step|tinit|tfinal|deltaT|beta[12]|target_r|progressbar|save_.*"
)
#: Ways to start LoRA that leave the weights of the base alone, so that what is read is all of it.
_PLAIN_STARTS = (True, False, "gaussian", "eva", "orthogonal")
#: Sub-configurations of LoRA that say how it began or is run, not what is computed.
_SERVING = ("runtime_config", "eva_config", "megatron_config", "loftq_config")


def found_in(folder: Path, backbone: Backbone, class_of: Callable[[str], type[PeftAdapter]]) -> PeftAdapter:
    """The adapter of a folder that PEFT wrote, not attached yet.

    Args:
        folder: with PEFT's two files.
        backbone: whose modules it will wrap.
        class_of: makes the class of a method.

    Raises:
        UserError: it is no such folder, of a method that is not offered, or with options that are not.
    """
    import peft

    try:
        with quiet():
            config = peft.PeftConfig.from_pretrained(str(folder))
    except (OSError, TypeError, ValueError, KeyError) as error:
        raise UserError(f"{folder / CONFIG} is not readable: {' '.join(str(error).split())[:200]}") from error
    rows = [method for method, row in METHODS.items() if row.config == type(config).__name__]
    if not rows:
        raise UserError(f"{folder} holds an adapter of {type(config).__name__}, which is not offered here")
    given = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    options = {method: _options(class_of(method), given) for method in rows}
    differing = {method: _differing(class_of(method), given, options[method]) for method in rows}
    method = min(rows, key=lambda one: len(differing[one]))
    if differing[method]:
        what = ", ".join(f"{key} {given[key]}" for key in differing[method])
        raise UserError(f"{folder} holds a {METHODS[method].name} with {what}, which is not offered here")
    targets = [name for name in wrappable(backbone) if _wraps(config, name)]
    if not targets:
        raise UserError(f"{folder} wraps modules that backbone '{backbone.name}' does not have")
    towers = {tower_of(name) for name in targets}
    where = {"targets": targets, "towers": "both" if len(towers) > 1 else towers.pop()}
    return class_of(method)(**options[method], **where)


def _options(made: type[PeftAdapter], given: Mapping[str, Any]) -> dict[str, Any]:
    """The values of our options, those of a sub-configuration among them."""
    nested = METHODS[made.method].nested
    values = dict(given)
    if nested is not None and given[nested[0]] is not None:
        values |= vars(given[nested[0]])
    return {name: values[name] for name in inspect.signature(made).parameters if name in values}


def _differing(made: type[PeftAdapter], given: Mapping[str, Any], options: Mapping[str, Any]) -> list[str]:
    """Fields of PEFT's configuration that an adapter of this method with these options has otherwise."""
    try:
        config = made(**options)._config(["any"])
    except (TypeError, ValueError):
        return [*options]
    ours = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    # An empty pattern, list and none are one.
    found = [key for key in ours if not _FREE.fullmatch(key) and (ours[key] or None) != (given[key] or None)]
    if "lora_alpha" not in given or METHODS[made.method].config != "LoraConfig":
        return found
    starts = given["init_lora_weights"], ours["init_lora_weights"]
    if starts[0] != starts[1] and not all(start in _PLAIN_STARTS for start in starts):
        found.append("init_lora_weights")
    inside = METHODS[made.method].nested
    variants = {key for key in ours if key.endswith("_config") and key not in _SERVING and given[key]}
    return found + sorted(variants ^ ({inside[0]} if inside is not None else set()) - {"use_bdlora"})


def _wraps(config: Any, name: str) -> bool:
    """Whether PEFT would wrap the module of this name."""
    from peft.tuners.tuners_utils import check_target_module_exists

    return config.target_modules is not None and bool(check_target_module_exists(config, name))
