"""Whole experiments: with features kept, found or computed live, the result is the same."""

from __future__ import annotations

import json
import multiprocessing
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from clplat.cache.rows import Rows
from clplat.cache.store import Store
from clplat.cli import main
from clplat.config.resolve import command_of, resolve
from clplat.events import Listener
from clplat.files import read_json
from clplat.runs.experiment import run
from clplat.trees import load_tree

EVERY = 2  # steps between checkpoints; an experience has 2 epochs of 2

#: What is run, and the cut that training uses in both towers.
SYSTEMS: dict[str, tuple[dict[str, Any], str]] = {
    "combiner": ({"composer": "combiner", "adapter": "none", "projection": "procrustes"}, "pooled"),
    "full": ({"adapter": "full"}, "live"),
    "last block": ({"adapter": "full", "adapter.last": 1, "composer": "combiner"}, "block 1"),
    "replay": (
        {"strategy": "replay", "strategy.size": 8, "strategy.batch_size": 4, "adapter": "lora"},
        "live",
    ),
    "distill": ({"strategy": "distill", "adapter": "lora", "adapter.lora_dropout": 0.2}, "live"),
    "lora_per_domain": ({"strategy": "lora_per_domain", "composer": "combiner"}, "live"),
    "compatible": ({"strategy": "backward_compatible", "projection": "linear"}, "live"),
    "deep": ({"prompt": "deep", "adapter": "none", "composer": "combiner"}, "live"),
}


pytestmark = pytest.mark.usefixtures("one_thread")
SLOW = pytest.mark.slow


@pytest.fixture(scope="module")
def world(small_backbone: Path) -> dict[str, Any]:
    """A backbone of 16 pixels and two small domains."""
    sizes = {"domains": 2, "train": 16, "queries": 8, "gallery": 20, "size": 16}
    return {
        "backbone": f"local-dir:{small_backbone}",
        "scenario": {"name": "catalogue", **sizes},
        "train": {"epochs": 2, "batch_size": 8},
    }


class Interrupt(Exception):
    pass


class Heard(Listener):
    """What a listener was told; raises at the n-th step."""

    def __init__(self, stop: int = 0) -> None:
        self.notes: list[str] = []
        self.left = stop

    def note(self, text: str) -> None:
        self.notes.append(text)

    def progress(self, experience: int, done: int, total: int) -> None:
        self.left -= 1
        if self.left == 0:
            raise Interrupt


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store of this test's own."""
    monkeypatch.setenv("CLPLAT_CACHE", str(tmp_path / "store"))
    return tmp_path / "store"


@pytest.fixture(scope="module")
def whole(world: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of an uninterrupted run of a system from an empty store, which is beside it; made once."""
    made: dict[str, Path] = {}

    def folder(name: str) -> Path:
        if name not in made:
            made[name] = tmp_path_factory.mktemp("whole") / "run"
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("CLPLAT_CACHE", str(made[name].parent / "store"))
                run({**world, **SYSTEMS[name][0]}, made[name], checkpoint_every=0)
        return made[name]

    return folder


def content(folder: Path, *without: str) -> str:
    """result.json without what is measured, as text."""
    result = read_json(folder / "result.json")
    assert result["status"] == "complete"
    for key in ("measured", *without):
        del result[key]
    return json.dumps(result, indent=1, sort_keys=True)


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    """Every tensor in every file that is left of an experiment."""
    found: dict[str, torch.Tensor] = {}

    def collect(name: str, node: Any) -> None:
        if isinstance(node, torch.Tensor):
            found[name] = node
        elif isinstance(node, dict):
            for key, value in node.items():
                collect(f"{name}/{key}", value)
        elif isinstance(node, list | tuple):
            for place, value in enumerate(node):
                collect(f"{name}/{place}", value)

    for path in sorted(folder.rglob("*.safetensors")):
        collect(path.relative_to(folder).as_posix(), load_tree(path))
    return found


def same_bits(one: Path, other: Path) -> None:
    assert content(one) == content(other)
    left, right = tensors(one), tensors(other)
    assert left.keys() == right.keys() and left
    wrong = [name for name in left if left[name].numpy().tobytes() != right[name].numpy().tobytes()]
    assert not wrong, f"other bits in {wrong[:5]}"


def reuse(folder: Path) -> dict[str, Any]:
    report: dict[str, Any] = read_json(folder / "result.json")["measured"]["features"]
    for tower in ("image", "text"):
        part = report[tower]
        assert part["asked"] == part["encoded"] - part.get("unused", 0) + part["live"] + part["reused"]
        counts = ("asked", "encoded", "live", "reused")
        assert min(part[count] for count in counts) >= 0 and part["asked"] > 0
    return report


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=SLOW if name in ("full", "distill", "compatible") else []) for name in SYSTEMS],
)
def test_cold_and_warm_give_the_same_bits(
    name: str,
    world: dict[str, Any],
    whole: Callable[[str], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # A copy is met as by another process: its rows are mapped from disk, and looked at before they are used.
    shutil.copytree(whole(name).parent / "store", tmp_path / "copy")
    monkeypatch.setenv("CLPLAT_CACHE", str(tmp_path / "copy"))
    run({**world, **SYSTEMS[name][0]}, tmp_path / "warm", checkpoint_every=0)
    same_bits(tmp_path / "warm", whole(name))
    cold, warm = reuse(whole(name)), reuse(tmp_path / "warm")
    assert cold["image"]["encoded"] > 0 and cold["text"]["encoded"] > 0 and cold["bytes_written"] > 0
    assert [warm[tower]["encoded"] for tower in ("image", "text")] == [0, 0], "all of it was there"
    assert warm["bytes_written"] == 0
    for tower in ("image", "text"):
        for count in ("asked", "live", "taps"):
            assert warm[tower][count] == cold[tower][count], (tower, count)
    assert (warm["image"]["live"] == 0) == (SYSTEMS[name][1] != "live")


@pytest.mark.parametrize(
    ("name", "features"), [*((name, "off") for name in SYSTEMS), ("combiner", "fp16"), ("last block", "fp16")]
)
def test_kept_or_live_the_result_is_the_same(
    name: str, features: str, world: dict[str, Any], whole: Callable[[str], Path], store: Path, tmp_path: Path
) -> None:
    run({**world, **SYSTEMS[name][0], "features": features}, tmp_path / "run", checkpoint_every=0)
    result, kept = (read_json(folder / "result.json") for folder in (tmp_path / "run", whole(name)))
    if features == "off":
        assert not store.exists() and "features" not in result["measured"]
    reported = set(kept["measured"]["features"]["image"]["taps"])
    assert SYSTEMS[name][1] in reported, f"training is cut at {reported}"
    rough = features == "fp16"
    assert result["training"].keys() == kept["training"].keys()
    for term, values in kept["training"].items():
        close = {"rel": 2e-2 if rough else 1e-3, "abs": 1e-4}
        for one, other in zip(result["training"][term], values, strict=True):
            assert one is other is None or one == pytest.approx(other, **close), term
    found, wanted = tensors(tmp_path / "run"), tensors(whole(name))
    galleries = [key for key in wanted if key.startswith("galleries/")]
    assert found.keys() == wanted.keys() and galleries
    for key in galleries:
        assert torch.allclose(found[key], wanted[key], atol=2e-2 if rough else 1e-4), key
    assert result["cost"]["optimizer_steps"] == kept["cost"]["optimizer_steps"]


@pytest.mark.parametrize(
    "name",
    [
        "combiner",
        pytest.param("last block", marks=SLOW),
        "distill",
        pytest.param("lora_per_domain", marks=SLOW),
    ],
)
def test_killed_and_resumed_with_a_cleared_store(
    name: str,
    world: dict[str, Any],
    whole: Callable[[str], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config, folder = {**world, **SYSTEMS[name][0]}, tmp_path / "cut"
    for attempt, step in enumerate((3, 4)):
        monkeypatch.setenv("CLPLAT_CACHE", str(tmp_path / f"store {attempt}"))
        with pytest.raises(Interrupt):
            run(config, folder, listener=Heard(stop=step), checkpoint_every=EVERY)
        Store(tmp_path / f"store {attempt}").clear()
    so_far = read_json(folder / "result.json")["measured"]["features"]
    monkeypatch.setenv("CLPLAT_CACHE", str(tmp_path / "store 2"))
    run(config, folder, checkpoint_every=EVERY)
    same_bits(folder, whole(name))
    report = reuse(folder)
    for tower in ("image", "text"):
        assert report[tower]["asked"] > so_far[tower]["asked"] > 0, "what was before the interruption counts"
        assert report[tower]["encoded"] > so_far[tower]["encoded"]
        assert all(report[tower]["taps"].get(tap, 0) >= n for tap, n in so_far[tower]["taps"].items())
    assert report["pixels"]["decoded"] <= report["pixels"]["asked"]


def test_an_evaluation_asks_as_often_after_a_resume(
    world: dict[str, Any], whole: Callable[[str], Path], store: Path, tmp_path: Path
) -> None:
    """Cut right after a row was measured, nothing is asked twice: the sums are those of the whole run."""

    class Cut(Listener):
        rows = 0

        def row(self, result: dict[str, Any]) -> None:
            Cut.rows += 1
            if Cut.rows == 2:
                raise Interrupt

    config, folder = {**world, **SYSTEMS["combiner"][0]}, tmp_path / "cut"
    with pytest.raises(Interrupt):
        run(config, folder, listener=Cut(), checkpoint_every=0)
    run(config, folder, checkpoint_every=0)
    same_bits(folder, whole("combiner"))
    one, other = reuse(folder), reuse(whole("combiner"))
    for tower in ("image", "text"):
        for count in ("asked", "encoded", "live", "reused", "taps"):
            assert one[tower][count] == other[tower][count], (tower, count)


def test_other_experiments_find_what_one_left(world: dict[str, Any], store: Path, tmp_path: Path) -> None:
    """Version 0 of all of them is the bare base, and a frozen tower stays it."""
    run({**world, **SYSTEMS["combiner"][0]}, tmp_path / "first", checkpoint_every=0)
    run(
        {**world, **SYSTEMS["combiner"][0], "seed": 1, "scenario.seed": 0},
        tmp_path / "second",
        checkpoint_every=0,
    )
    first, second = reuse(tmp_path / "first"), reuse(tmp_path / "second")
    assert first["image"]["encoded"] > 0 and second["image"]["encoded"] == second["text"]["encoded"] == 0
    assert content(tmp_path / "first", "config") != content(tmp_path / "second", "config")


def test_a_store_that_cannot_be_written_is_reported_once(
    world: dict[str, Any], whole: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CLPLAT_CACHE", str(tmp_path / "file" / "store"))
    heard = Heard()
    run({**world, **SYSTEMS["combiner"][0]}, tmp_path / "run", listener=heard, checkpoint_every=0)
    told = [note for note in heard.notes if "cannot write to" in note]
    assert len(told) == 1 and "features are kept in memory only" in told[0]
    same_bits(tmp_path / "run", whole("combiner"))
    assert reuse(tmp_path / "run")["bytes_written"] == 0


def test_training_asks_for_every_picture_once(
    world: dict[str, Any], store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The towers see each distinct picture of a frozen experiment once, whatever the number of epochs."""
    seen: list[int] = []
    fill = Rows._images

    def counted(self: Rows, *given: Any) -> Any:
        before = self.counts["image"].encoded
        found = fill(self, *given)
        seen.append(self.counts["image"].encoded - before)
        return found

    monkeypatch.setattr(Rows, "_images", counted)
    config = {**world, **SYSTEMS["combiner"][0], "train.epochs": 3}
    run(config, tmp_path / "run", checkpoint_every=0)
    report = reuse(tmp_path / "run")
    assert sum(seen) == report["image"]["encoded"] and report["image"]["live"] == 0
    (table,) = [info for info in Store(store).info() if info.key["what"] == "image"]
    assert table.rows == report["image"]["encoded"], "no row was made twice"
    assert sum(1 for made in seen if made) <= 3, (
        "before the first row and before each experience, all at once"
    )


@pytest.mark.slow
def test_two_experiments_at_once_on_one_store(
    world: dict[str, Any], whole: Callable[[str], Path], store: Path, tmp_path: Path
) -> None:
    names = ["combiner", "last block"]
    context: Any = multiprocessing.get_context("forkserver")  # imports once for both
    context.set_forkserver_preload(["clplat.runs.experiment", "open_clip"])
    processes = []
    for name in names:
        words = shlex.split(command_of(resolve({**world, **SYSTEMS[name][0]})))[1:]
        words += ["--out", str(tmp_path / name), "--no-track", "--checkpoint-every", "0"]
        processes.append(context.Process(target=main, args=(words,)))
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    for name in names:
        # Each process hashed the code for itself; it may be edited while the tests run.
        assert content(tmp_path / name, "fingerprints") == content(whole(name), "fingerprints")
        one, other = tensors(tmp_path / name), tensors(whole(name))
        assert all(one[key].numpy().tobytes() == other[key].numpy().tobytes() for key in other)
        reuse(tmp_path / name)
    assert Store(store).verify() == []
