"""One flipped byte in what an experiment leaves behind: detected or harmless, never another number."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clplat.cache.store import Store
from clplat.errors import UserError
from clplat.files import read_json
from clplat.runs.experiment import run
from clplat.runs.load import config_of
from clplat.trees import load_tree

pytestmark = pytest.mark.usefixtures("one_thread")

#: What holds no numbers that are read back.
NOT_READ = {".png", ".lock"}
#: How a file of a run is read back.
READERS: dict[str, Callable[[Path], Any]] = {
    ".safetensors": load_tree,
    ".json": read_json,
    ".yaml": lambda path: config_of(path.parent).as_dict(),
}


@pytest.fixture(scope="module")
def left(small_backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an interrupted ``run``, and the ``store`` that it filled."""
    folder = tmp_path_factory.mktemp("left")
    config = {
        "backbone": f"local-dir:{small_backbone}",
        "scenario": {"name": "catalogue", "domains": 2, "train": 16, "queries": 8, "gallery": 20, "size": 16},
        "train": {"epochs": 1, "batch_size": 8},
        "strategy": "replay",
        "adapter": "lora",
        "composer": "combiner",
        "projection": "procrustes",
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLPLAT_CACHE", str(folder / "store"))
        patch.setattr("clplat.runs.experiment.Path.unlink", lambda path, missing_ok=False: None)
        run(config, folder / "run")
    return folder


def flips(path: Path, places: int) -> Any:
    """The file with another byte at one place after the other; whole again in the end."""
    content, dice = path.read_bytes(), random.Random(path.name)
    try:
        for place in sorted(dice.sample(range(len(content)), min(places, len(content)))):
            changed = bytearray(content)
            changed[place] ^= dice.randrange(1, 256)
            path.unlink()  # somebody may have mapped it
            path.write_bytes(changed)
            yield place
    finally:
        path.write_bytes(content)


WHOLE = pytest.param(50, marks=pytest.mark.slow)


@pytest.mark.parametrize("places", [2, WHOLE])
def test_a_run_is_read_as_it_was_written_or_not_at_all(
    places: int, left: Path, bits: Callable[[Any], Any]
) -> None:
    paths = [path for path in sorted((left / "run").rglob("*")) if path.is_file()]
    kinds = {path.relative_to(left / "run").parts[0] for path in paths}
    assert {"result.json", "config.yaml", "checkpoint.safetensors", "versions", "galleries", "lists"} <= kinds
    assert {"ranks", "values", "anchors", "projections"} <= kinds
    refused = 0
    for path in paths:
        if path.suffix in NOT_READ or path.name in NOT_READ:
            continue
        read = READERS[path.suffix]
        right = bits(read(path))
        for place in flips(path, places):
            try:
                found = bits(read(path))
            except UserError as error:
                assert "\n" not in str(error) and path.name in str(error)
                refused += 1
            else:
                assert found == right, f"{path}, byte {place}"
    assert refused


@pytest.mark.parametrize("places", [2, WHOLE])
def test_rows_of_the_store_are_as_they_were_made_or_made_again(
    places: int, left: Path, bits: Callable[[Any], Any]
) -> None:
    tables = Store(left / "store").info()
    assert {info.key["what"] for info in tables} == {"image", "text", "pixels"}
    lost = 0
    for info in tables:
        folder = left / "store" / info.digest[:2] / info.digest
        table = Store(left / "store").table(info.key)
        names = table.sample(10**6)
        right = dict(zip(names, bits(list(table.rows(names))), strict=True))
        for path in sorted(folder.iterdir()):
            if path.suffix in NOT_READ or path.name in NOT_READ:
                continue
            for place in flips(path, places):
                late = Store(left / "store")
                missing = set(late.table(info.key).missing(names))
                there = [name for name in names if name not in missing]
                rows = bits(list(late.table(info.key).rows(there)))
                assert rows == [right[name] for name in there], f"{path}, byte {place}"
                assert bool(missing) == bool(late.problem)
                lost += bool(missing)
    assert lost
