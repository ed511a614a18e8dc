"""Captioned pictures to pretrain on: drawn ones, a folder, a list, or what a stream trains on."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch

from clplat.config.raw import read_config
from clplat.config.recipes import recipe, recipes
from clplat.config.resolve import resolve
from clplat.data.decoding import open_picture
from clplat.data.records import Picture
from clplat.errors import UserError, nearest
from clplat.randomness import generator

from ..domain_folders import DomainFolders
from .probes import pretraining_pairs

__all__ = ["captioned_pictures"]


def captioned_pictures(source: str, pairs: int, seed: int) -> list[Picture]:
    """Pictures with captions from a source.

    Args:
        source: ``"catalogue"`` (``pairs`` general product pictures); a ``.jsonl``, ``.csv`` or ``.tsv`` file
            with columns ``picture`` (path, relative to the file) and ``caption``; a folder
            ``<root>/<domain>/<class>/*.jpg``, captioned from its folder names (``<root>/<domain>`` reads that
            domain alone); or a stream, as a recipe such as ``"products"`` or as a ``.yaml`` file with a
            scenario that has captions, of whose training split they are.
        pairs: pictures at most; each with all captions that it is listed with.
        seed: of the catalogue.

    Raises:
        UserError: an unknown source, a missing column, no pairs, a scenario without captions.
    """
    if source == "catalogue":
        return pretraining_pairs(pairs, seed)
    path = Path(source)
    if path.is_dir():
        nested = any(
            child.is_dir() for folder in path.iterdir() if folder.is_dir() for child in folder.iterdir()
        )
        root, domains = (path, None) if nested else (path.parent, [path.name])
        pictures = DomainFolders(str(root)).captioned("train", domains)
    elif path.suffix in (".jsonl", ".csv", ".tsv"):
        pictures = [
            Picture(str(path.parent / file), partial(open_picture, path.parent / file), caption)
            for file, caption in _listed(path)
        ]
    else:
        pictures = _of_stream(source)
    if not pictures:
        raise UserError(f"{source} holds no captioned pictures")
    listed: dict[str, list[Picture]] = {}
    for picture in pictures:
        listed.setdefault(picture.key, []).append(picture)
    several = list(listed.values())
    order = torch.randperm(len(several), generator=generator(seed, "pairs")).tolist()
    return [picture for i in order[:pairs] for picture in several[i]]


def _listed(path: Path) -> Iterator[tuple[str, str]]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text in UTF-8"
        raise UserError(f"cannot read {path}: {why}") from None
    rows: list[Mapping[str, Any]]
    try:
        if path.suffix == ".jsonl":
            rows = [json.loads(line) for line in text.splitlines() if line.strip()]
        else:
            rows = list(csv.DictReader(text.splitlines(), delimiter="\t" if path.suffix == ".tsv" else ","))
        for row in rows:
            yield str(row["picture"]), str(row["caption"])
    except (KeyError, TypeError, ValueError, csv.Error, RecursionError) as error:
        raise UserError(f"{path}: every line needs 'picture' and 'caption' ({error})") from None


def _of_stream(source: str) -> list[Picture]:
    """The training pictures of a stream with their captions."""
    streams = [entry.name for entry in recipes("streams")]
    if source.endswith((".yaml", ".yml")):
        config = read_config(Path(source))
    elif source in streams:
        config = dict(recipe(source).config)
    else:
        raise UserError(
            f"unknown source '{source}'{nearest(source, streams)} (allowed: catalogue, a folder, a .jsonl, "
            f".csv, .tsv or .yaml file, or one of the streams {', '.join(streams)})"
        )
    scenario = resolve(config).make("scenario")
    if not hasattr(scenario, "captioned"):
        raise UserError(f"{source}: scenario {config['scenario']['name']} has no captions to pretrain on")
    captioned: list[Picture] = scenario.captioned("train")
    return captioned
