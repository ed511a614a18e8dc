"""Twins of the labelled sets that torchvision reads: three classes each, few pictures."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from clplat.testing.twins._drawing import COLOURS, draw, put

__all__ = ["classification"]


def classification(folder: Path, sets: Sequence[str] | None = None, each: int = 6, seed: int = 0) -> Path:
    """Write labelled sets below a folder, as torchvision leaves them there; a class is a colour.

    Args:
        folder: is made where it is not there.
        sets: names as of scenario ``classification``; by default all that MTIL has.
        each: pictures per class and split.
        seed: of the pictures.
    """
    for name in sets or [name for name in _WRITERS if name != "cifar10"]:
        _WRITERS[name](Path(folder), each, seed)
    return Path(folder)


def _many(folder: Path, names: Sequence[str], colour: int) -> None:
    for name in names:
        put(folder / name, COLOURS[colour])


def _text(path: Path, lines: Sequence[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _aircraft(root: Path, each: int, seed: int) -> None:
    data, classes = root / "fgvc-aircraft-2013b/data", ("707-320", "A340-200", "Cessna 172")
    for file in ("variants", "families", "manufacturers"):
        _text(data / f"{file}.txt", classes)
    for s, split in enumerate(("train", "val", "test")):
        named = [(f"{seed}{s}{c}{i:04d}", c) for i in range(each) for c in range(3)]
        for name, c in named:
            put(data / f"images/{name}.jpg", COLOURS[c])
        _text(data / f"images_variant_{split}.txt", [f"{name} {classes[c]}" for name, c in named])


def _caltech101(root: Path, each: int, seed: int) -> None:
    for c, name in enumerate(("BACKGROUND_Google", "Faces", "car_side", "yin_yang")):
        files = [f"image_{i + 1:04d}.jpg" for i in range(2 * each + seed % 2)]
        _many(root / "caltech101/101_ObjectCategories" / name, files, c)
    (root / "caltech101/Annotations").mkdir(exist_ok=True)


def _eurosat(root: Path, each: int, seed: int) -> None:
    for c, name in enumerate(("AnnualCrop", "HerbaceousVegetation", "SeaLake")):
        files = [f"{name}_{i + 1 + seed}.jpg" for i in range(2 * each)]
        _many(root / "eurosat/2750" / name, files, c)


def _sun397(root: Path, each: int, seed: int) -> None:
    classes = ("/a/abbey", "/a/apse/indoor", "/b/barn")
    _text(root / "SUN397/ClassName.txt", classes)
    for c, name in enumerate(classes):
        _many(root / f"SUN397{name}", [f"sun_{seed}{c}{i:02d}.jpg" for i in range(2 * each)], c)


def _dtd(root: Path, each: int, seed: int) -> None:
    classes = ("banded", "blotchy", "zigzagged")
    for s, split in enumerate(("train", "val", "test")):
        names = [f"{name}/{name}_{seed}{s}{i:02d}.jpg" for name in classes for i in range(each)]
        for name in names:
            put(root / "dtd/dtd/images" / name, COLOURS[classes.index(name.partition("/")[0])])
        _text(root / f"dtd/dtd/labels/{split}1.txt", names)


def _food(root: Path, each: int, seed: int) -> None:
    classes = ("apple_pie", "baklava", "waffles")
    for s, split in enumerate(("train", "test")):
        named = {c: [f"{c}/{seed}{s}{k}{i:03d}" for i in range(each)] for k, c in enumerate(classes)}
        for k, names in enumerate(named.values()):
            _many(root / "food-101/images", [f"{name}.jpg" for name in names], k)
        _text(root / f"food-101/meta/{split}.json", [json.dumps(named)])


def _pets(root: Path, each: int, seed: int) -> None:
    classes = ("Abyssinian", "american_bulldog", "yorkshire_terrier")
    for s, split in enumerate(("trainval", "test")):
        rows = [(f"{c}_{seed + 100 * s + i}", k) for k, c in enumerate(classes) for i in range(each)]
        for name, k in rows:
            put(root / f"oxford-iiit-pet/images/{name}.jpg", COLOURS[k])
        lines = [f"{name} {k + 1} {1 + k % 2} 1" for name, k in rows]
        _text(root / f"oxford-iiit-pet/annotations/{split}.txt", lines)


def _flowers(root: Path, each: int, seed: int) -> None:
    from scipy.io import savemat

    count = 9 * each
    labels = np.arange(count) % 3 + 1
    _many_by(root / "flowers-102/jpg", lambda i: f"image_{i + 1:05d}.jpg", labels - 1)
    ids = (np.random.default_rng(seed).permutation(count) + 1).reshape(3, -1)
    sets = {key: np.sort(row)[None] for key, row in zip(("trnid", "valid", "tstid"), ids, strict=True)}
    savemat(root / "flowers-102/setid.mat", sets)
    savemat(root / "flowers-102/imagelabels.mat", {"labels": labels[None]})


def _cars(root: Path, each: int, seed: int) -> None:
    from scipy.io import savemat

    folder, names = root / "stanford_cars", ("Hummer SUV 2000", "Acura RL Sedan 2012", "BMW M3 2012")
    (folder / "devkit").mkdir(parents=True, exist_ok=True)
    savemat(folder / "devkit/cars_meta.mat", {"class_names": np.array(names, dtype=object)[None]})
    kind = [(key, "O") for key in ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2", "class", "fname")]
    for split, table in (("train", "devkit/cars_train_annos"), ("test", "cars_test_annos_withlabels")):
        labels = (np.arange(3 * each) + seed) % 3
        _many_by(folder / f"cars_{split}", lambda i: f"{i + 1:05d}.jpg", labels)
        rows = [(1, 1, 9, 9, int(c) + 1, f"{i + 1:05d}.jpg") for i, c in enumerate(labels)]
        savemat(folder / f"{table}.mat", {"annotations": np.array(rows, dtype=kind)[None]})


def _many_by(folder: Path, name: Callable[[int], str], labels: Any) -> None:
    for i, label in enumerate(labels):
        put(folder / name(i), COLOURS[int(label)])


def _mnist(root: Path, each: int, seed: int) -> None:
    raw = root / "MNIST/raw"
    raw.mkdir(parents=True, exist_ok=True)
    for start in ("train", "t10k"):
        labels = np.arange(10 * each, dtype=np.uint8) % 10
        shown = [draw(f"{start}{seed}{i}", "white", None, "black", 28).convert("L") for i in range(10 * each)]
        pixels = np.stack([np.asarray(picture) for picture in shown])
        for what, held in (("images-idx3", pixels), ("labels-idx1", labels)):
            head = b"\0\0\x08" + bytes([held.ndim]) + np.array(held.shape, ">u4").tobytes()
            (raw / f"{start}-{what}-ubyte").write_bytes(head + held.tobytes())


def _cifar(folder: Path, files: Sequence[str], key: str, meta: tuple[str, str], each: int, seed: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    names = ("apple", "aquarium_fish", "baby")
    for file in files:
        labels = [i % 3 for i in range(3 * each)]
        shown = [draw(f"{file}{seed}{i}", COLOURS[label]) for i, label in enumerate(labels)]
        data = np.stack([np.asarray(picture).transpose(2, 0, 1).reshape(-1) for picture in shown])
        (folder / file).write_bytes(pickle.dumps({"data": data, key: labels}, protocol=2))
    (folder / meta[0]).write_bytes(pickle.dumps({meta[1]: list(names)}, protocol=2))


def _cifar10(root: Path, each: int, seed: int) -> None:
    files = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
    _cifar(root / "cifar-10-batches-py", files, "labels", ("batches.meta", "label_names"), each, seed)


def _cifar100(root: Path, each: int, seed: int) -> None:
    meta = ("meta", "fine_label_names")
    _cifar(root / "cifar-100-python", ("train", "test"), "fine_labels", meta, each, seed)


_WRITERS: dict[str, Callable[[Path, int, int], None]] = {
    "aircraft": _aircraft,
    "caltech101": _caltech101,
    "cifar10": _cifar10,
    "cifar100": _cifar100,
    "dtd": _dtd,
    "eurosat": _eurosat,
    "flowers": _flowers,
    "food": _food,
    "mnist": _mnist,
    "pets": _pets,
    "cars": _cars,
    "sun397": _sun397,
}
