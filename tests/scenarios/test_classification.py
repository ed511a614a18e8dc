"""Labelled sets as torchvision reads them, their prompts, and the streams MTIL and class-incremental."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision.datasets as tv
from torch.nn.functional import normalize

from clplat.config.recipes import recipe
from clplat.config.resolve import resolve
from clplat.data.records import Domain
from clplat.errors import UserError
from clplat.evaluation.evaluator import Evaluator
from clplat.testing import ScenarioContract, tiny_collate, tiny_retriever, twins
from clplat.testing.twins._drawing import put
from scenarios.classification import Classification

ORDER_1 = [
    *("aircraft", "caltech101", "cifar100", "dtd", "eurosat", "flowers"),
    *("food", "mnist", "pets", "cars", "sun397"),
]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(twins.classification(tmp_path_factory.mktemp("sets"), [*ORDER_1, "cifar10"], each=4))


class TestClassification(ScenarioContract):
    @pytest.fixture(autouse=True)
    def _root(self, root: str) -> None:
        self.root = root

    def make(self) -> Classification:
        return Classification(self.root, ["dtd", "mnist"], experiences=2)


class Flowers(tv.Flowers102):
    """Without the checksums, which a twin cannot have."""

    def _check_integrity(self) -> bool:
        return True


def split_in_five(data: Any) -> dict[str, list[int]]:
    """MTIL's random 80 / 20 split, by torch's own function."""
    sizes = [int(0.8 * len(data)), len(data) - int(0.8 * len(data))]
    train, test = torch.utils.data.random_split(data, sizes, torch.Generator().manual_seed(42))
    return {"train": list(train.indices), "test": list(test.indices)}


def theirs(name: str, root: str) -> tuple[list[str], dict[str, list[tuple[str, str]]]]:
    """Classes, and (file or row, class) per split, as torchvision's own readers have them."""
    whole: dict[str, Any] = {"caltech101": tv.Caltech101, "eurosat": tv.EuroSAT, "sun397": tv.SUN397}
    if name in whole:
        data = whole[name](root)
        if name == "caltech101":
            folder, classes = "caltech101/101_ObjectCategories", data.categories
            numbered = zip(data.index, (classes[y] for y in data.y), strict=True)
            pairs = [(f"{folder}/{name}/image_{i:04d}.jpg", name) for i, name in numbered]
        elif name == "eurosat":
            classes, pairs = data.classes, [(file, data.classes[y]) for file, y in data.samples]
        else:
            classes = data.classes
            pairs = sorted(zip(map(str, data._image_files), (classes[y] for y in data._labels), strict=True))
        return classes, {s: [pairs[i] for i in rows] for s, rows in split_in_five(pairs).items()}
    made: dict[str, Any] = {
        "aircraft": tv.FGVCAircraft, "dtd": tv.DTD, "flowers": Flowers, "food": tv.Food101,
        "pets": tv.OxfordIIITPet, "cars": tv.StanfordCars,
    }  # fmt: skip
    found = {}
    for split in ("train", "test"):
        data = made[name](root, split="trainval" if (name, split) == ("pets", "train") else split)
        samples = getattr(data, "_samples", None)
        if samples is None:
            images = data._images if name == "pets" else data._image_files
            samples = list(zip(images, data._labels, strict=True))
        found[split] = [(str(file), data.classes[y]) for file, y in samples]
    return list(data.classes), found


def ours(domain: Domain, split: str) -> list[tuple[str, str]]:
    """(key, class) of the pictures that are trained on, or asked of the own classes."""
    if split == "train":
        return [(example.query.key, example.label) for example in domain.train]
    return [(query.id, query.targets[0]) for query in domain.test.queries]


@pytest.mark.parametrize("name", [name for name in ORDER_1 if name not in ("mnist", "cifar100")])
def test_files_are_those_of_torchvisions_reader(name: str, root: str) -> None:
    domain = Classification(root, [name], validation=0.0).build()[0][0]
    classes, splits = theirs(name, root)
    prompts = [item.key for item in domain.test.gallery.items]
    assert len(prompts) == 3 and len(classes) >= 3
    title = dict(zip(classes, prompts, strict=False))
    for split, pairs in splits.items():
        keys = [f"classification/{file.removeprefix(root + '/')}" for file, _ in pairs]
        assert ours(domain, split) == list(zip(keys, (title[c] for _, c in pairs), strict=True)), split


@pytest.mark.parametrize("name", ["mnist", "cifar10", "cifar100"])
def test_rows_of_arrays_are_those_of_torchvisions_reader(name: str, root: str) -> None:
    domain = Classification(root, [name], validation=0.0).build()[0][0]
    prompts = [item.key for item in domain.test.gallery.items]
    shown = {
        "train": [example.query.picture for example in domain.train],
        "test": [query.reference for query in domain.test.queries],
    }
    for split in ("train", "test"):
        if name == "mnist":
            data = tv.MNIST(root, train=split == "train")
            pixels, labels = data.data.numpy(), data.targets.tolist()
        else:
            pixels, labels = raw_cifar(Path(root), name, split)
        assert [prompts.index(c) for _, c in ours(domain, split)] == labels
        for picture, wanted in list(zip(shown[split], pixels, strict=True))[::7]:
            assert picture is not None
            rgb = np.repeat(wanted[..., None], 3, 2) if wanted.ndim == 2 else wanted
            assert np.array_equal(np.asarray(picture.load()), rgb)


def raw_cifar(root: Path, name: str, split: str) -> tuple[Any, list[int]]:
    """As torchvision's CIFAR reads its files, whose checksums twins cannot have."""
    folder = root / ("cifar-10-batches-py" if name == "cifar10" else "cifar-100-python")
    batches = [f"data_batch_{i}" for i in range(1, 6)] if split == "train" else ["test_batch"]
    names = batches if name == "cifar10" else [split]
    found = [pickle.loads((folder / file).read_bytes()) for file in names]
    labels = [y for one in found for y in one["labels" if name == "cifar10" else "fine_labels"]]
    return np.vstack([one["data"] for one in found]).reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), labels


def test_unibench_is_twelve_sets_and_three_probes(root: str, tmp_path: Path) -> None:
    for entry in Path(root).iterdir():
        (tmp_path / entry.name).symlink_to(entry)
    twins.classification(tmp_path, ["cifar10"], each=2)
    suite = recipe("unibench").config
    config = resolve({**suite, "scenario": {**suite["scenario"], "root": str(tmp_path)}})
    domains = config.make("scenario").build()[0]
    assert {domain.name for domain in domains} == {*ORDER_1, "cifar10"} and len(domains) == 12
    named = {probe.name.partition("/")[0] for probe in config.make("probes").beside([])}
    assert named == {"compositions", "negation", "several-objects"}


def test_mtil_is_eleven_sets_in_two_orders_with_the_sources_counts(root: str) -> None:
    made = {}
    for name in ("mtil_1", "mtil_2"):
        config = dict(recipe(name).config["scenario"]) | {"root": root}
        made[name] = resolve({"scenario": config}).make("scenario")
    assert made["mtil_1"].sets == ORDER_1
    assert made["mtil_2"].sets == [ORDER_1[i] for i in (9, 6, 7, 8, 5, 10, 0, 1, 3, 4, 2)]
    domains, _ = made["mtil_1"].build()
    assert [domain.name for domain in domains] == ORDER_1
    published = made["mtil_1"].published
    assert sum(published[f"{name}/classes"] for name in ORDER_1) == 1201
    assert published["sun397/train"] == int(0.8 * 108754) and published["flowers/test"] == 6149
    [said] = made["mtil_1"].remarks
    assert "aircraft/train 12 of 3,334" in said
    text = {item.text for domain in domains for item in domain.test.gallery.items}
    assert {
        "a photo of a off-center face.",
        "a photo of a apse/indoor.",
        "a photo of a pink primrose, a type of flower.",
    } <= text
    assert 'a photo of the number: "0 - zero".' in text and "a photo of a Abyssinian, a type of pet." in text


def test_a_class_is_the_unit_mean_of_its_prompts(root: str) -> None:
    """Accuracy by the gallery of prompts is that of a zero-shot classifier, computed by hand in float64."""
    prompts = ["a photo of a {}.", "one {}", "the {} here"]
    domains, _ = Classification(root, ["pets", "dtd"], validation=0, templates=prompts).build()
    model, collate = tiny_retriever().eval(), tiny_collate()
    shown, tokenize = collate.pixels.images, collate.tokenize
    evaluator = Evaluator(
        domains, [], split="test", pictures=shown, tokenize=tokenize, composers={"own": None}
    )
    found = evaluator.row(model).metrics["R@1"]
    for domain, accuracy in zip(domains, found, strict=True):
        keys, rows = [item.key for item in domain.test.gallery.items], []
        with torch.no_grad():
            for item in domain.test.gallery.items:
                own = [normalize(model.encode_texts(tokenize([t]))[0].double(), dim=0) for t in item.said]
                rows.append(normalize(torch.stack(own).mean(0), dim=0))
            asked = model.encode_images(shown([q.reference for q in domain.test.queries if q.reference]))
        right = torch.tensor([keys.index(q.targets[0]) for q in domain.test.queries])
        hits = (asked.double() @ torch.stack(rows).T).argmax(1) == right
        assert accuracy == pytest.approx(100 * hits.double().mean().item(), abs=1e-6)


def test_class_incremental_splits_cover_every_class_once(root: str) -> None:
    scenario = Classification(root, ["mnist"], experiences=4, shuffle=7, among="all", validation=0.3)
    domains, _ = scenario.build()
    own = [{item.key for item in domain.sets["test/own"].gallery.items} for domain in domains]
    assert [len(keys) for keys in own] == [3, 3, 2, 2] and len(set().union(*own)) == 10
    for domain, keys in zip(domains, own, strict=True):
        assert {example.label for example in domain.train} <= keys
        assert {query.targets[0] for query in domain.test.queries} <= keys
        assert len(domain.test.gallery.items) == 10
        assert domain.test.protocol.name == "classification/all-classes"
    held = {e.query.key for d in domains for e in d.train} & {q.id for d in domains for q in d.val.queries}
    assert not held


def test_few_pictures_are_balanced_over_classes_and_do_not_depend_on_others(root: str) -> None:
    whole = Classification(root, ["dtd"]).build()[0][0]
    few = Classification(root, ["dtd"], train=7, queries=6).build()[0][0]
    counts = sorted(sum(e.label == label for e in few.train) for label in {e.label for e in whole.train})
    assert counts == [2, 2, 3] and {e.id for e in few.train} < {e.id for e in whole.train}
    assert len(few.test.queries) == 6


def test_plain_class_folders_with_and_without_splits(tmp_path: Path) -> None:
    for split in ("train", "val"):
        for name, colour in (("n01", "red"), ("n02", "blue")):
            for i in range(3):
                put(tmp_path / "mine" / split / name / f"{split}{i}.JPEG", colour)
    for name in ("cat", "dog"):
        for i in range(20):
            put(tmp_path / "pets_of_mine" / name / f"{i}.png")
    scenario = Classification(str(tmp_path), ["mine", "pets_of_mine"], words={"n01": "red thing"})
    mine, pets = scenario.build()[0]
    assert [item.text for item in mine.sets["test"].gallery.items] == [
        "a photo of a red thing.",
        "a photo of a n02.",
    ]
    assert len(mine.train) + len(mine.val.queries) == 6 and len(mine.test.queries) == 6
    assert len(pets.train) + len(pets.val.queries) + len(pets.test.queries) == 40
    assert scenario.published == {} and scenario.remarks == []


def test_a_missing_picture_is_refused_or_declared(tmp_path: Path) -> None:
    root = twins.classification(tmp_path, ["dtd"])
    gone = next((root / "dtd/dtd/images/banded").glob("banded_02*.jpg"))
    gone.unlink()
    with pytest.raises(UserError, match=rf"classification: 1 of 54 pictures are missing: .*{gone.name}"):
        Classification(str(root), ["dtd"]).build()
    declared = Classification(str(root), ["dtd"], missing="declare")
    assert len(declared.build()[0][0].test.queries) == 17
    assert declared.report["missing"]["lost"] == {"dtd/test": {"queries": 1}}


@pytest.mark.parametrize(
    ("sets", "said"),
    [
        (["cifar1000"], "'cifar1000' is no folder in .* and none of the sets that are known: aircraft"),
        (["food"], r"no such file: .*train\.json"),
        (["mine"], "mine has a folder 'train' and neither 'val' nor 'test'"),
        (["empty"], "empty holds no folders of classes"),
        (["cifar10"], "batches.meta is no file of CIFAR: it wants to run os.system"),
    ],
)
def test_what_is_not_as_described_gets_one_clear_line(sets: list[str], said: str, tmp_path: Path) -> None:
    (tmp_path / "mine/train/cat").mkdir(parents=True)
    (tmp_path / "empty").mkdir()
    (tmp_path / "food-101/meta").mkdir(parents=True)
    (tmp_path / "cifar-10-batches-py").mkdir()
    (tmp_path / "cifar-10-batches-py/batches.meta").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(UserError, match=said) as caught:
        Classification(str(tmp_path), sets).build()
    assert "\n" not in str(caught.value)
