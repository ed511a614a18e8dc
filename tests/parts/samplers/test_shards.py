"""Shards in random order, each read forward, and what loader workers read of them."""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.utils.data import DataLoader

from clplat.data.collate import Collate
from clplat.data.examples import Example, Pair
from clplat.data.images import PixelStore, Preprocess
from clplat.data.items import Picture
from clplat.data.lazy import Chosen, Joined, places_of
from clplat.data.sources.tar_shards import open_shards
from clplat.parts.samplers._base import Sampler
from clplat.parts.samplers.shards import Shards
from clplat.parts.samplers.shuffled import Shuffled
from clplat.randomness import generator
from clplat.testing import SamplerContract
from clplat.training.batches import loaded
from scenarios.triplets import Triplets


class TestShards(SamplerContract):
    def make(self) -> Shards:
        return Shards(buffer=16, at_once=2)


def no_model(_: Any) -> Any:
    raise AssertionError("it looks at the model")


def of(places: Sequence[tuple[str, int] | None]) -> list[Example]:
    pictures = [Picture(f"{i}", Image.new, place=place) for i, place in enumerate(places)]
    return [Pair(f"{i}", picture, "words", domain="d") for i, picture in enumerate(pictures)]


PLACES = st.lists(st.none() | st.tuples(st.sampled_from("abc"), st.integers(0, 99)), min_size=2, max_size=60)


@settings(max_examples=100, deadline=None)
@given(PLACES, st.integers(2, 9), st.integers(1, 20), st.integers(1, 4), st.integers(0, 99))
def test_every_row_once_and_none_alone(
    places: list[tuple[str, int] | None], size: int, buffer: int, at_once: int, seed: int
) -> None:
    sampler = Shards(buffer, at_once)
    batches = sampler.batches(of(places), size, generator(seed, "test"), no_model)
    assert sorted(row for batch in batches for row in batch) == list(range(len(places)))
    assert [len(batch) for batch in batches[:-1]] == [size] * (len(batches) - 1)
    assert 1 < len(batches[-1]) <= size + 1
    assert batches == sampler.batches(of(places), size, generator(seed, "test"), no_model)


@pytest.mark.parametrize("buffer", [1, 7, 16])
def test_no_read_goes_back_further_than_the_buffer(buffer: int) -> None:
    """Two shards whose examples are stored in another order than they are listed, and some in neither."""
    places: list[Any] = [("ba"[i % 2], 999 - i) for i in range(80)] + [None] * 20
    batches = Shards(buffer).batches(of(places), 8, generator(3, "test"), no_model)
    rows = [row for batch in batches for row in batch]
    read = [places[row] for row in rows if places[row] is not None]
    wanted = [(shard, start) for shard in dict.fromkeys(s for s, _ in read) for start in range(920, 1000)]
    order = {place: i for i, place in enumerate(one for one in wanted if one in set(read))}
    moved = [order[place] - i for i, place in enumerate(read)]
    assert len(order) == 80 and max(map(abs, moved)) < buffer
    assert buffer == 1 or any(moved)
    spread = [i for i, row in enumerate(rows) if places[row] is None]
    assert min(spread) < 20 and max(spread) >= 80, "examples that are in no shard are not spread out"


def test_shards_in_turns_and_in_another_order_every_pass() -> None:
    examples = of([(f"{i // 32}.tar", i % 32) for i in range(128)])
    passes = [Shards(1, at_once=2).batches(examples, 8, generator(seed, "x"), no_model) for seed in range(8)]
    firsts = set()
    for batches in passes:
        shards = [{row // 32 for row in batch} for batch in batches]
        assert all(len(one) == 1 for one in shards), "a batch has examples of two shards at once"
        assert shards[0::2] == sorted(shards[0::2], key=shards[0::2].index) and shards[0] != shards[1]
        assert not {*map(min, shards[0::2])} & {*map(min, shards[1::2])}, "two readers share a shard"
        firsts.add(min(shards[0]))
    assert len(firsts) > 1


def test_wrong_sizes_are_refused() -> None:
    for settings_, said in (({"buffer": 0}, "buffer"), ({"at_once": 0}, "at_once")):
        with pytest.raises(ValueError, match=f"{said} must be at least 1, not 0"):
            Shards(**settings_)


# -- what is read of real tar files ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two shards of 48 rows, each row with a picture of its own that leads to its neighbour's."""
    folder = tmp_path_factory.mktemp("shards")
    for number in range(2):
        with tarfile.open(folder / f"{number}.tar", "w") as tar:
            for row in range(48):
                name = f"{number}{row:03d}"
                drawn = io.BytesIO()
                Image.new("RGB", (8, 8), (row, number, 0)).save(drawn, "PNG")
                target, split = f"{number}{row ^ 1:03d}.reference.png", "train" if row < 32 else "test"
                cells = json.dumps({"text": f"as {name}", "target": target, "split": split})
                for ending, content in (("reference.png", drawn.getvalue()), ("json", cells.encode())):
                    member = tarfile.TarInfo(f"{name}.{ending}")
                    member.size = len(content)
                    tar.addfile(member, io.BytesIO(content))
    return folder


def test_places_of_columns_are_those_of_the_examples(shards: Path) -> None:
    (domain,), _ = Triplets(str(shards)).build()
    train, eager = domain.train, tuple(domain.train)
    wanted = [example.query.picture.place for example in eager if example.query.picture is not None]
    assert list(places_of(train)) == list(places_of(eager)) == wanted and None not in wanted
    joined = Chosen(Joined([train, eager]), [1, 0, len(eager) + 1])
    assert list(places_of(joined)) == [wanted[1], wanted[0], wanted[1]]


def reads(
    sampler: Sampler, shards: Path, workers: int, monkeypatch: pytest.MonkeyPatch
) -> list[list[tuple[str, int]]]:
    """The places that each loader process reads, in its order."""
    pread, log = os.pread, shards / "log"
    log.unlink(missing_ok=True)

    def noted(file: int, size: int, start: int) -> bytes:
        with log.open("a") as opened:
            opened.write(f"{os.getpid()} {Path(os.readlink(f'/proc/self/fd/{file}')).name} {start}\n")
        return pread(file, size, start)

    source = open_shards(shards).pictures
    assert source is not None
    pictures = [source.picture(name) for name in source.members]
    examples = [Pair(one.key, one, "words", domain="d") for one in pictures]
    collate = Collate(PixelStore(Preprocess(8)), lambda texts: torch.zeros(len(texts), 2, dtype=torch.long))
    batches = sampler.batches(examples, 8, generator(0, "test"), no_model)
    with monkeypatch.context() as patch:
        patch.setattr(os, "pread", noted)
        loader: Any = DataLoader(
            examples,  # type: ignore[arg-type]
            batch_sampler=batches,
            collate_fn=partial(loaded, collate),
            num_workers=workers,
            multiprocessing_context="fork",
        )
        assert sum(len(batch) for batch in loader) == len(pictures)
    found: dict[str, list[tuple[str, int]]] = {}
    for line in log.read_text().splitlines():
        process, shard, start = line.split()
        found.setdefault(process, []).append((shard, int(start)))
    return list(found.values())


def forward(read: list[list[tuple[str, int]]]) -> float:
    steps = [b >= a for one in read for a, b in pairwise(one)]
    return sum(steps) / len(steps)


@pytest.mark.skipif(not hasattr(os, "readlink") or not Path("/proc/self/fd").exists(), reason="reads /proc")
def test_a_worker_reads_shards_of_its_own_forward(shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    within = reads(Shards(buffer=16, at_once=2), shards, 2, monkeypatch)
    assert sorted(sorted({shard for shard, _ in one}) for one in within) == [["0.tar"], ["1.tar"]]
    assert forward(reads(Shards(buffer=1, at_once=2), shards, 2, monkeypatch)) == 1.0
    across = reads(Shuffled(), shards, 2, monkeypatch)
    assert {shard for one in across for shard, _ in one[:8]} == {"0.tar", "1.tar"}
    # 16 examples are two batches, each read in the order of the file.
    back = [a[1] - b[1] for one in within for a, b in pairwise(one) if b < a]
    assert forward(within) > 0.9 and max(back) < 16 * 2048
