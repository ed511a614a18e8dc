"""open_clip models from a name, a tag, a file or a folder, with every silent wrong turn closed.

open_clip goes on with random weights when it finds none, forgets the preprocessing of a model when weights
come from a file (open_clip#1068), only warns when a tag was trained with another activation, and resizes
position embeddings that do not fit. Here each of these is an error or is put right.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from typing_extensions import NotRequired, TypedDict

from clplat.documents.checked import checked
from clplat.errors import UserError, nearest
from clplat.files import read_json
from clplat.models.filling import WEIGHTS, fill, put, quiet
from clplat.models.hub import hub_folder
from clplat.models.hugging_face import folder as hugging_face
from clplat.models.hugging_face.siglip_tower import make_known
from clplat.models.known import CONFIG, HUB, SHIPPED, folder_named, path_of, refuse_unknown

__all__ = ["CONFIG", "SHIPPED", "WEIGHTS", "Loaded", "build", "load", "stamp"]

_WEIGHT_FILES = (
    WEIGHTS,
    "open_clip_pytorch_model.safetensors",
    "model.safetensors",
    "open_clip_pytorch_model.bin",
)
_SHOWN = 12  # tags that a message lists


class _Preprocessing(TypedDict):
    """``open_clip_config.json`` beside a weights file, as far as it is read."""

    preprocess_cfg: NotRequired[dict[str, Any]]


class _Model(TypedDict, total=False):
    """The towers of a configuration."""

    vision_cfg: dict[str, Any]
    text_cfg: dict[str, Any]


class _Config(_Preprocessing):
    """The same of a folder; open_clip checks what is inside when it builds the model."""

    model_cfg: _Model


@dataclass
class Loaded:
    """A stock open_clip model with its configuration and the source that names its tokenizer."""

    model: Any
    model_cfg: dict[str, Any]
    preprocess_cfg: dict[str, Any]
    tokenizer: str


def load(name: str, pretrained: str | None) -> Loaded:
    """Load a model with its weights.

    Raises:
        UserError: unknown name or tag, no weights named, a file that is missing, broken or does not fit.
    """
    folder = _folder_of(name)
    if folder is None:
        return _named(name, pretrained)
    if pretrained:
        raise UserError(f"'{name}' comes with its own weights; leave out pretrained='{pretrained}'")
    return _folder(folder)


def stamp(name: str) -> tuple[tuple[str, int, int], ...]:
    """Sizes and times of the files of a folder that `load` reads; empty for open_clip's names.

    Those take their preprocessing from tables that may change while a program runs.
    """
    folder = _folder_of(name)
    files = sorted(folder.glob("*")) if folder is not None else []
    stats = [(str(file), file.stat()) for file in files if file.is_file()]
    return tuple((file, stat.st_size, stat.st_mtime_ns) for file, stat in stats)


def _folder_of(name: str) -> Path | None:
    """The folder that a name means; None for open_clip's names."""
    if name and "/" not in name and (SHIPPED / name / CONFIG).is_file():
        return SHIPPED / name
    return hub_folder(name.removeprefix(HUB)) if name.startswith(HUB) else folder_named(name)


def build(model_cfg: Mapping[str, Any], preprocess_cfg: Mapping[str, Any], where: str) -> Loaded:
    """Build a model with random weights; ``where`` names the configuration in messages."""
    import open_clip

    if not isinstance(model_cfg, Mapping) or not {"embed_dim", "vision_cfg", "text_cfg"} <= set(model_cfg):
        raise UserError(
            f"{where} needs the keys embed_dim, vision_cfg and text_cfg, as open_clip's configs do"
        )
    make_known(str(model_cfg["vision_cfg"].get("timm_model_name", "")))
    with tempfile.TemporaryDirectory() as folder:
        config = {"model_cfg": model_cfg, "preprocess_cfg": preprocess_cfg}
        (Path(folder) / CONFIG).write_text(json.dumps(config), encoding="utf-8")
        try:
            with quiet():
                model = open_clip.create_model(
                    f"local-dir:{folder}", load_weights=False, pretrained_text=False
                )
        except Exception as error:  # it checks nothing, and fails wherever a value is used first
            said = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
            raise UserError(f"{where} is not a model that open_clip can build: {said}") from error
    preprocess = json.loads(json.dumps(open_clip.get_model_preprocess_cfg(model)))
    return Loaded(model, deepcopy(dict(model_cfg)), preprocess, "")


def _folder(folder: Path) -> Loaded:
    if not folder.is_dir():
        raise UserError(f"no such folder: {folder} (it should hold {CONFIG} and {WEIGHTS})")
    if not (folder / CONFIG).is_file() and (folder / hugging_face.CONFIG).is_file():
        return _converted(folder)
    config = read_json(folder / CONFIG)
    checked(config, _Config, folder / CONFIG, "configuration of a model")
    weights = next((folder / name for name in _WEIGHT_FILES if (folder / name).is_file()), None)
    if weights is None:
        raise UserError(f"{folder} has no weights (one of {', '.join(_WEIGHT_FILES)})")
    loaded = build(config["model_cfg"], config.get("preprocess_cfg", {}), str(folder / CONFIG))
    fill(loaded.model, weights)
    loaded.tokenizer = f"local-dir:{folder.resolve()}"
    return loaded


def _converted(folder: Path) -> Loaded:
    """A folder that transformers wrote."""
    found = hugging_face.converted(folder)
    loaded = build(found.model_cfg, found.preprocess_cfg, str(folder / hugging_face.CONFIG))
    put(loaded.model, found.weights, folder)
    loaded.tokenizer = found.tokenizer
    return loaded


def _named(name: str, pretrained: str | None) -> Loaded:
    import open_clip

    name = name.replace("/", "-")
    model_cfg = open_clip.get_model_config(name)
    if model_cfg is None:
        refuse_unknown(name)
        raise UserError(f"open_clip does not read its configuration of '{name}'")
    tags = open_clip.list_pretrained_tags_by_model(name)
    allowed = f"{', '.join(tags[:_SHOWN])}{', ...' if len(tags) > _SHOWN else ''}" or "no tags"
    if not pretrained:
        raise UserError(
            f"backbone '{name}' needs weights: pretrained = a tag ({allowed}) or the path of a file"
        )
    if path_of(pretrained).is_file():
        weights = path_of(pretrained)
        preprocess = _preprocess_of(name, weights)
    elif open_clip.is_pretrained_cfg(name, pretrained):
        preprocess = open_clip.get_pretrained_cfg(name, pretrained)
        # OpenAI's weights need QuickGELU whatever the config says; open_clip only warns.
        model_cfg["quick_gelu"] = bool(preprocess.get("quick_gelu", False))
        weights = _download(name, pretrained, preprocess)
    else:
        raise UserError(
            f"'{pretrained}' is neither a file nor a pretrained tag of '{name}'{nearest(pretrained, tags)} "
            f"(allowed: {allowed}, or the path of a .safetensors or .pt file)"
        )
    loaded = build(model_cfg, preprocess, f"open_clip's config '{name}'")
    fill(loaded.model, weights)
    loaded.tokenizer = name
    return loaded


def _preprocess_of(name: str, weights: Path) -> dict[str, Any]:
    """Preprocessing for a weights file: what lies beside it, else what all tags of the model agree on."""
    import open_clip

    beside = weights.parent / CONFIG
    if beside.is_file():
        config = checked(read_json(beside), _Preprocessing, beside, "configuration of a model")
        return dict(config.get("preprocess_cfg", {}))
    keys = ("mean", "std", "interpolation", "resize_mode")
    known = [
        {key: cfg[key] for key in keys if key in cfg}
        for cfg in (
            open_clip.get_pretrained_cfg(name, tag) for tag in open_clip.list_pretrained_tags_by_model(name)
        )
    ]
    return known[0] if known and all(cfg == known[0] for cfg in known) else {}


def _download(name: str, tag: str, cfg: Mapping[str, Any]) -> Path:
    import open_clip

    try:
        return Path(open_clip.download_pretrained(cfg))
    except Exception as error:  # the hub, urllib and open_clip each raise their own kinds
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise UserError(
            f"could not download the weights '{tag}' of '{name}': {reason}; offline, give the path of a file"
        ) from error
