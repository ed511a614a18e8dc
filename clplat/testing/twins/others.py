"""Twins of MetaShift, Open Images' boxes, Babel-ImageNet and SugarCrepe."""

from __future__ import annotations

import csv
import json
import pickle
from collections.abc import Sequence
from pathlib import Path

from clplat.testing.twins._drawing import COLOURS, SHAPES, put

__all__ = ["babel_imagenet", "boxes", "metashift", "sugarcrepe"]


def metashift(
    folder: Path,
    subjects: Sequence[str] = ("cat", "dog"),
    contexts: Sequence[str] = ("sofa", "laptop", "bench"),
    each: int = 24,
    seed: int = 0,
) -> Path:
    """Write ``full-candidate-subsets.pkl`` and ``images``: a thing is a shape, a context a colour.

    Args:
        folder: is made where it is not there.
        subjects: things.
        contexts: of each thing.
        each: pictures of each thing in each context; the first two of a thing's first context are in its
            second context as well, and one picture shows two things.
        seed: of the pictures.
    """
    root, subsets = Path(folder), dict[str, set[str]]()
    for s, subject in enumerate(subjects):
        for c, context in enumerate(contexts):
            names = [f"{2300000 + seed * 10000 + s * 1000 + c * 100 + i}" for i in range(each)]
            for name in names:
                put(root / "images" / f"{name}.jpg", COLOURS[c], SHAPES[s])
            subsets[f"{subject}({context})"] = set(names)
        first = sorted(subsets[f"{subject}({contexts[0]})"])
        subsets[f"{subject}({contexts[1]})"] |= set(first[:2])
    both = f"{subjects[1]}({contexts[0]})"
    subsets[both].add(min(subsets[f"{subjects[0]}({contexts[0]})"]))
    (root / "full-candidate-subsets.pkl").write_bytes(pickle.dumps(subsets))
    return root


def boxes(
    folder: Path, classes: Sequence[str] = ("Dog", "Cat", "Car", "Chair"), each: int = 12, seed: int = 0
) -> Path:
    """Write Open Images' tables of boxes and its pictures, with two boxes each.

    Args:
        folder: is made where it is not there.
        classes: names, each a colour.
        each: boxes per class and split.
        seed: of the pictures.
    """
    root = Path(folder)
    root.mkdir(parents=True, exist_ok=True)
    with (root / "class-descriptions-boxable.csv").open("w", newline="") as file:
        csv.writer(file).writerows([f"/m/0{i}", name] for i, name in enumerate([*classes, "Tortoise"]))
    head = "ImageID Source LabelName Confidence XMin XMax YMin YMax "
    head += "IsOccluded IsTruncated IsGroupOf IsDepiction IsInside"
    for number, split in enumerate(("train", "validation", "test")):
        rows: list[list[object]] = []
        for i in range(len(classes) * each // 2):
            name = f"{seed:04x}{number:04x}{i:08x}"
            put(root / split / f"{name}.jpg", COLOURS[i % 8])
            for k in range(2):
                label = f"/m/0{(2 * i + k) % len(classes)}"
                side = (0.05, 0.45) if k == 0 else (0.5, 0.95)
                rows.append([name, "xclick", label, 1, *side, 0.1, 0.9, 0, 0, 0, 0, 0])
            rows.append([name, "xclick", "/m/00", 1, 0.1, 0.9, 0.1, 0.9, 0, 0, 1, 0, 0])  # a group
            rows.append([name, "xclick", "/m/01", 1, 0.1, 0.12, 0.1, 0.9, 0, 0, 0, 0, 0])  # a sliver
        with (root / f"{split}-annotations-bbox.csv").open("w", newline="") as file:
            csv.writer(file).writerows([head.split(), *rows])
    return root


def babel_imagenet(folder: Path, each: int = 20, seed: int = 0) -> Path:
    """Write labels in two languages, prompts, and four classes of ImageNet.

    Args:
        folder: is made where it is not there.
        each: pictures per class to train on; a quarter as many to test on.
        seed: of the pictures.
    """
    root = Path(folder)
    for c, name in enumerate(("n01440764", "n01443537", "n02123045", "n02123159")):
        for split, count in (("train", each), ("val", max(1, each // 4))):
            for i in range(count):
                put(root / f"imagenet/{split}/{name}/{name}_{seed}{i}.JPEG", COLOURS[c])
    labels = {
        "DE": [[0, 1, 2], ["Schleie", "Goldfisch", "Katze"]],
        "SW": [[1, 2, 3], ["samaki wa dhahabu", "paka", "paka"]],  # two classes of one name
    }
    prompts = {"DE": ["ein Foto von {}.", "ein Bild von {}."], "SW": ["picha ya {}."]}
    (root / "babel_imagenet-298.json").write_text(json.dumps(labels), encoding="utf-8")
    (root / "prompts.json").write_text(json.dumps(prompts, ensure_ascii=False), encoding="utf-8")
    return root


def sugarcrepe(folder: Path, each: int = 4, seed: int = 0) -> Path:
    """Write SugarCrepe's seven files to ``data`` and its pictures to ``val2017``.

    Args:
        folder: is made where it is not there.
        each: entries per file.
        seed: of the pictures.
    """
    root = Path(folder)
    (root / "data").mkdir(parents=True, exist_ok=True)
    for name in ("add_att", "add_obj", "replace_att", "replace_obj", "replace_rel", "swap_att", "swap_obj"):
        held = {}
        for i in range(each):
            file, colour = f"{seed:06d}{i:06d}.jpg", COLOURS[i % 8]
            put(root / "val2017" / file, colour, "disc")
            wrong = f"a {COLOURS[(i + 1) % 8]} disc"
            held[str(i)] = {"filename": file, "caption": f"a {colour} disc", "negative_caption": wrong}
        (root / "data" / f"{name}.json").write_text(json.dumps(held), encoding="utf-8")
    return root
