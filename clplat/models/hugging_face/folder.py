"""A folder that transformers wrote, ``config.json`` and ``model.safetensors``, as a model of open_clip."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import Tensor
from typing_extensions import TypedDict

from clplat.documents.checked import checked
from clplat.errors import UserError
from clplat.files import read_json
from clplat.models.hugging_face import clip, siglip
from clplat.models.hugging_face.held import Held
from clplat.models.hugging_face.preprocessing import preprocess_cfg
from clplat.models.hugging_face.words import tokenizer_of
from clplat.models.weight_file import read_weights

__all__ = ["CONFIG", "Converted", "converted"]

CONFIG = "config.json"
#: Kinds of models by ``model_type``.
_KINDS: Mapping[str, ModuleType] = {"clip": clip, "siglip": siglip}
_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
_INDEX = "model.safetensors.index.json"


class _Config(TypedDict, total=False):
    """``config.json``, as far as it is read; its towers are checked where defaults are filled in."""

    model_type: str
    projection_dim: int
    text_config: dict[str, Any] | None
    text_config_dict: dict[str, Any] | None
    vision_config: dict[str, Any] | None
    vision_config_dict: dict[str, Any] | None


class _Index(TypedDict):
    """Tensor -> its file."""

    weight_map: dict[str, str]


@dataclass(frozen=True)
class Converted:
    """What open_clip needs to build the model, its weights, and the source of its tokenizer."""

    model_cfg: dict[str, Any]
    preprocess_cfg: dict[str, Any]
    weights: dict[str, Tensor]
    tokenizer: str


def converted(folder: Path) -> Converted:
    """Read a folder.

    Raises:
        UserError: another kind of model, a file that is missing or damaged, weights that are not those of
            ``config.json``, a part of the model that open_clip does not have.
    """
    path = folder / CONFIG
    given = checked(read_json(path), _Config, path, "configuration of a model")
    kind = given.get("model_type")
    if kind not in _KINDS:
        raise UserError(f"{path} is of model_type '{kind}' (allowed: {', '.join(_KINDS)})")
    made = _KINDS[kind]
    config = _filled(made.DEFAULTS, given, path)
    model_cfg = made.model_cfg(config, str(path))
    words, source = tokenizer_of(folder, config["text_config"]["vocab_size"])
    model_cfg["text_cfg"] |= words
    tensors, where = _tensors(folder)
    held = Held(tensors, str(where))
    weights = made.weights(held, config)
    held.refuse_rest()
    size = config["vision_config"]["image_size"]
    return Converted(model_cfg, preprocess_cfg(folder, made.PREPROCESSOR, size), weights, source)


def _filled(usual: Mapping[str, Any], given: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """A configuration with the defaults that it leaves out."""
    found = {**usual, **given}
    for tower in ("text_config", "vision_config"):
        # Older files hold both; what is in the second counts.
        own = {**(given.get(tower) or {}), **(given.get(f"{tower}_dict") or {})}
        found[tower] = {**usual[tower], **own}
        for key, value in usual[tower].items():
            kind, what = (str, "a text") if isinstance(value, str) else (int | float, "a number")
            if not isinstance(found[tower][key], kind):
                raise UserError(f"{path}: {tower}.{key} is {found[tower][key]!r}, not {what}")
    return found


def _tensors(folder: Path) -> tuple[dict[str, Tensor], Path]:
    """The weights of a folder, in one file or several, and the file that says where they are."""
    index = folder / _INDEX
    if index.is_file():
        held = checked(read_json(index), _Index, index, "list of files with weights")
        files = sorted(set(held["weight_map"].values()))
        if missing := [name for name in files if Path(name).name != name or not (folder / name).is_file()]:
            raise UserError(f"{index} names '{missing[0]}', which is not in that folder")
        return {name: t for file in files for name, t in read_weights(folder / file).items()}, index
    path = next((folder / name for name in _WEIGHTS if (folder / name).is_file()), None)
    if path is None:
        raise UserError(f"{folder} has no weights (one of {', '.join([*_WEIGHTS, _INDEX])})")
    return read_weights(path), path
