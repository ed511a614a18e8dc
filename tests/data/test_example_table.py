"""Examples as columns: whatever walks over them finds what it finds in the tuple of the same examples."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from clplat.data.example_table import ExampleTable
from clplat.data.fingerprint import stream_fingerprint
from clplat.data.lazy import Chosen, Joined, domains_of
from clplat.data.missing import without_missing
from clplat.data.named_items import NamedItems
from clplat.data.picture_files import PictureFiles
from clplat.data.records import Domain, Gallery, Item, Protocol, Query, RetrievalSet
from clplat.data.validate import validate_domain
from clplat.data.walk import words
from clplat.errors import UserError
from clplat.parts.samplers.by_domain import ByDomain
from clplat.runs.pairs import Anchors
from clplat.training.examples_in import examples_in
from clplat.training.streams import build_benchmark

NAMES = st.sampled_from([f"n{i}" for i in range(6)])
TEXTS = st.sampled_from(["make it red", 'à "carreaux", \\ more', "\u2028 line", "blue\ttab"])


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> PictureFiles:
    return PictureFiles(tmp_path_factory.mktemp("pictures"), "shop")


@st.composite
def columns(draw: st.DrawFn) -> dict[str, list[Any]]:
    count = draw(st.integers(1, 8))

    def column(cells: st.SearchStrategy[Any]) -> list[Any]:
        return draw(st.lists(cells, min_size=count, max_size=count))

    found = {"id": [f"r{i}" for i in range(count)], "target": column(NAMES)}
    found["text"] = column(TEXTS)
    found["reference"] = column(st.none() | NAMES if draw(st.booleans()) else NAMES)
    more = {
        "label": st.none() | st.sampled_from(["red", "blue"]),
        "weight": st.none() | st.sampled_from([0.5, 2.0]),
        "positives": st.lists(NAMES, max_size=2),
        "negatives": st.lists(NAMES, max_size=3),
        "group:shop": st.none() | st.sampled_from(["a", "b"]),
    }
    return found | {name: column(cells) for name, cells in more.items() if draw(st.booleans())}


def both(table: ExampleTable) -> list[Domain]:
    """The domain by columns, and the same by examples."""
    gallery = Gallery("g", [Item("shop/t", text="a thing")])
    asked = RetrievalSet((Query("q", None, "a thing", ("shop/t",)),), gallery, Protocol("p"))
    return [Domain("d", train, test=asked) for train in (table, tuple(table))]


@given(columns=columns(), described=st.booleans(), gone=st.sets(NAMES, max_size=3))
def test_every_walk_finds_the_same(
    pictures: PictureFiles, columns: dict[str, list[Any]], described: bool, gone: set[str]
) -> None:
    held = {"n0": ("n0", "a first thing")} if described else {}
    lazy, eager = both(ExampleTable("d", columns, NamedItems(pictures, held, {"n1": "one"})))
    assert list(lazy.train) == [lazy.train[i] for i in range(len(lazy.train))] == list(eager.train)
    assert list(lazy.train[1::2]) == list(eager.train[1::2]) and lazy.train[-1] == eager.train[-1]
    assert stream_fingerprint([lazy]) == stream_fingerprint([eager])
    assert set(words([lazy])) == set(words([eager]))
    assert list(dict.fromkeys(words(lazy))) == list(dict.fromkeys(words(eager)))
    assert [(p.key, p.caption) for p in lazy.anchors] == [(p.key, p.caption) for p in eager.anchors]
    assert vars(Anchors.of([lazy], 3)) == vars(Anchors.of([eager], 3))
    validate_domain(lazy)
    absent = {f"shop/{name}" for name in gone}
    (one,), left = without_missing([lazy], absent, "declare", "s")
    (other,), wanted = without_missing([eager], absent, "declare", "s")
    assert list(one.train) == list(other.train) and left == wanted
    batches = [ByDomain().batches(d.train, 3, torch.Generator().manual_seed(0), _none) for d in (lazy, eager)]
    assert batches[0] == batches[1]


def _none(items: Any) -> torch.Tensor:
    raise AssertionError("nothing is embedded")


@pytest.mark.parametrize(
    ("change", "gallery"),
    [({"id": ["0", "0"]}, "t"), ({"text": ["make it red", " "]}, "t"), ({}, "n1"), ({}, "n0")],
)
def test_faults_are_told_in_the_same_words(
    pictures: PictureFiles, change: dict[str, Any], gallery: str
) -> None:
    columns = {
        "id": ["0", "1"],
        "reference": ["n0", "n2"],
        "text": ["a", "b"],
        "target": ["n1", "n3"],
        **change,
    }
    table = ExampleTable("d", columns, NamedItems(pictures))
    said = []
    for train in (table, tuple(table)):
        held = Gallery("g", pictures=pictures.pictures([gallery, "other"]))
        asked = RetrievalSet((Query("q", None, "a", ("shop/other",)),), held, Protocol("p"))
        try:
            validate_domain(Domain("d", train, test=asked))
        except UserError as error:
            said.append(str(error))
    assert (len(said), len(set(said))) == ((0, 0) if (change, gallery) == ({}, "t") else (2, 1))


def test_data_in_a_loop_stay_columns(pictures: PictureFiles) -> None:
    columns = {"id": ["0", "1"], "reference": ["n0", "n2"], "text": ["a", "b"], "target": ["n1", "n3"]}
    table = ExampleTable("d", columns, NamedItems(pictures))
    lazy, eager = both(table)
    data, other = (build_benchmark([domain]).train_stream[0].dataset for domain in (lazy, eager))
    assert examples_in(data) is table
    assert examples_in(other) == list(table)
    memory = other.subset([1])
    joined = examples_in(data.concat(memory))
    assert isinstance(joined, Chosen) and list(joined) == [*table, table[1]]
    assert list(domains_of(joined)) == ["d", "d", "d"] and joined[1:] == [table[1], table[1]]
    twice = examples_in(data.concat(build_benchmark([eager]).train_stream[0].dataset))
    assert isinstance(twice, Joined) and list(twice) == [*table, *table]
    assert list(examples_in(data.subset([1]))) == [table[1]]
