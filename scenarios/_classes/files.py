"""Labelled sets of picture files, in the folders that torchvision makes of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clplat.data.folders import split_of
from clplat.errors import UserError
from clplat.extras import named_extras

from .listing import Listing, Named, by_class, eighty_twenty, entries, lines

__all__ = [
    "aircraft", "caltech101", "cars", "class_folders", "dtd", "eurosat", "flowers", "food", "pets", "sun397",
]  # fmt: skip


def aircraft(root: Path) -> Listing:
    """FGVC-Aircraft: ``fgvc-aircraft-2013b/data``, classes are the variants."""
    data = "fgvc-aircraft-2013b/data"
    classes = lines(root / data / "variants.txt")

    def split(name: str) -> list[Named]:
        path = root / data / f"images_variant_{name}.txt"
        pairs = (line.partition(" ") for line in lines(path))
        return by_class(((f"{data}/images/{p}.jpg", c) for p, _, c in pairs), classes, str(path))

    return Listing(classes, {name: split(name) for name in ("train", "val", "test")})


def caltech101(root: Path) -> Listing:
    """Caltech 101: ``caltech101/101_ObjectCategories``, without the folder of backgrounds."""
    found = _folders(root, "caltech101/101_ObjectCategories", but="BACKGROUND_Google")
    return Listing(found[0], eighty_twenty(found[1]))


def eurosat(root: Path) -> Listing:
    """EuroSAT: ``eurosat/2750``."""
    classes, pictures = _folders(root, "eurosat/2750")
    return Listing(classes, eighty_twenty(pictures))


def sun397(root: Path) -> Listing:
    """SUN397: ``SUN397/ClassName.txt`` and ``SUN397/<letter>/<class>/sun_*.jpg``, sorted by path."""
    folders = lines(root / "SUN397/ClassName.txt")
    pictures = [
        (f"SUN397{folder}/{name}", label)
        for label, folder in sorted(enumerate(folders), key=lambda one: one[1])
        for name in entries(root / f"SUN397{folder}", folders=False)
    ]
    return Listing([folder[3:] for folder in folders], eighty_twenty(pictures))


def dtd(root: Path) -> Listing:
    """Describable Textures: ``dtd/dtd``, the first of the ten partitions."""
    named = {split: lines(root / f"dtd/dtd/labels/{split}1.txt") for split in ("train", "val", "test")}
    classes = sorted({line.partition("/")[0] for line in named["train"]})
    splits = {
        split: by_class(((f"dtd/dtd/images/{p}", p.partition("/")[0]) for p in names), classes, "dtd/labels")
        for split, names in named.items()
    }
    return Listing(classes, splits)


def food(root: Path) -> Listing:
    """Food-101: ``food-101/meta`` and ``food-101/images``."""
    named = {split: _json(root / f"food-101/meta/{split}.json") for split in ("train", "test")}
    classes = sorted(named["train"])
    splits = {
        split: by_class(
            ((f"food-101/images/{p}.jpg", c) for c, names in held.items() for p in names), classes, "food-101"
        )
        for split, held in named.items()
    }
    return Listing(classes, splits)


def pets(root: Path) -> Listing:
    """Oxford-IIIT Pet: ``oxford-iiit-pet``, trained on ``trainval``."""
    splits: dict[str, list[Named]] = {}
    names: dict[int, str] = {}
    for split, file in (("train", "trainval.txt"), ("test", "test.txt")):
        rows = [line.split() for line in lines(root / "oxford-iiit-pet/annotations" / file)]
        names |= {int(row[1]) - 1: row[0].rpartition("_")[0] for row in rows}
        splits[split] = [(f"oxford-iiit-pet/images/{row[0]}.jpg", int(row[1]) - 1) for row in rows]
    classes = [names[i] for i in sorted(names)]
    return Listing(classes, splits, [" ".join(w.title() for w in name.split("_")) for name in classes])


def flowers(root: Path) -> Listing:
    """Oxford Flowers 102: ``flowers-102``; its small split is trained on, as MTIL does."""
    folder = root / "flowers-102"
    sets, labels = _matlab(folder / "setid.mat"), _matlab(folder / "imagelabels.mat")["labels"]
    held = {"train": "trnid", "val": "valid", "test": "tstid"}
    splits = {
        split: [(f"flowers-102/jpg/image_{i:05d}.jpg", int(labels[i - 1]) - 1) for i in sets[key].tolist()]
        for split, key in held.items()
    }
    return Listing([str(i + 1) for i in range(int(labels.max()))], splits)


def cars(root: Path) -> Listing:
    """Stanford Cars: ``stanford_cars`` with the labels of the test split."""
    folder = root / "stanford_cars"
    tables = {
        "train": folder / "devkit/cars_train_annos.mat",
        "test": folder / "cars_test_annos_withlabels.mat",
    }
    splits = {
        split: [
            (f"stanford_cars/cars_{split}/{row['fname']}", int(row["class"]) - 1)
            for row in _matlab(path)["annotations"]
        ]
        for split, path in tables.items()
    }
    return Listing([str(c) for c in _matlab(folder / "devkit/cars_meta.mat")["class_names"]], splits)


def class_folders(root: Path, name: str) -> Listing:
    """Any set: ``<name>/<split>/<class>/*`` or ``<name>/<class>/*``, then split 60 / 15 / 25 by path."""
    held = entries(root / name, folders=True)
    if "train" not in held:
        classes, pictures = _folders(root, name)
        splits: dict[str, list[Named]] = {"train": [], "val": [], "test": []}
        for picture, label in pictures:
            splits[split_of(picture)].append((picture, label))
        return Listing(classes, splits)
    if "test" not in held and "val" not in held:
        raise UserError(f"{root / name} has a folder 'train' and neither 'val' nor 'test'")
    found = {split: _folders(root, f"{name}/{split}") for split in ("train", "val", "test") if split in held}
    classes = found["train"][0]
    for split, (own, _) in found.items():
        if own != classes:
            odd = sorted({*own} ^ {*classes})
            raise UserError(f"{root / name}: {split} and train differ in classes: {', '.join(odd[:3])}")
    splits = {split: pictures for split, (_, pictures) in found.items()}
    if "test" not in splits:
        splits["test"] = splits.pop("val")  # ImageNet's: its labels of test are hidden
    return Listing(classes, splits)


def _folders(root: Path, name: str, but: str = "") -> tuple[list[str], list[Named]]:
    """Class folders -> the classes, and the pictures by class, then by name."""
    classes = [folder for folder in entries(root / name, folders=True) if folder != but]
    if not classes:
        raise UserError(f"{root / name} holds no folders of classes")
    return classes, [
        (f"{name}/{folder}/{picture}", label)
        for label, folder in enumerate(classes)
        for picture in entries(root / name / folder, folders=False)
    ]


def _json(path: Path) -> Mapping[str, list[str]]:
    text = "\n".join(lines(path))
    try:
        found = json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(f"{path} is no JSON: {error}") from None
    if not isinstance(found, dict):
        raise UserError(f"{path} should hold a list of pictures per class")
    return found


def _matlab(path: Path) -> Any:
    with named_extras("reading MATLAB's files"):
        from scipy.io import loadmat
    if not path.is_file():
        lines(path)  # says what is missing
    try:
        return loadmat(path, squeeze_me=True)
    except Exception as error:  # scipy raises whatever it likes
        raise UserError(f"{path} is no file of MATLAB: {error}") from error
