"""Splitting a batch into examples and joining them again changes nothing, whatever the batch looks like."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clplat.data.batch import Batch
from clplat.data.records import Candidate
from clplat.mechanisms.examples import join_examples, size_in_bytes, split_batch
from clplat.testing import tiny_collate, tiny_domains
from clplat.testing.checks import difference

DTYPES = [torch.float32, torch.int64, torch.uint8, torch.bool]


@st.composite
def columns(draw: st.DrawFn, count: int) -> Any:
    """A tensor of any type and shape, or a list of names, with ``count`` rows."""
    if draw(st.integers(0, 3)) == 0:
        return draw(st.lists(st.text(max_size=3), min_size=count, max_size=count))
    shape = (count, *draw(st.lists(st.integers(1, 3), max_size=2)))
    return torch.randint(0, 2, shape, generator=torch.Generator().manual_seed(0)).to(
        draw(st.sampled_from(DTYPES))
    )


@st.composite
def batches(draw: st.DrawFn) -> Any:
    """A tensor, or a list or dict of columns of which one at least is a tensor."""
    count = draw(st.integers(1, 5))
    tensor = torch.arange(2.0 * count).reshape(count, 2)
    more = draw(st.lists(columns(count), max_size=3))
    kind = draw(st.sampled_from(["tensor", "list", "dict"]))
    if kind == "tensor":
        return tensor
    return [tensor, *more] if kind == "list" else {str(i): column for i, column in enumerate([tensor, *more])}


@settings(max_examples=80, deadline=None)
@given(batches())
def test_joining_what_was_split_gives_the_batch_back(batch: Any) -> None:
    rows = split_batch(batch)
    assert not difference(join_examples(rows), batch)
    assert len(rows) == len(batch if isinstance(batch, torch.Tensor) else next(iter(split_columns(batch))))


def split_columns(batch: Any) -> list[Any]:
    return list(batch.values()) if isinstance(batch, dict) else list(batch)


@settings(max_examples=40, deadline=None)
@given(batches(), st.randoms(use_true_random=False))
def test_rows_may_be_chosen_and_reordered(batch: Any, random: Any) -> None:
    rows = split_batch(batch)
    order = random.sample(range(len(rows)), random.randint(1, len(rows)))
    again = split_batch(join_examples([rows[i] for i in order]))
    assert not difference(again, [rows[i] for i in order])


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.lists(st.tuples(st.integers(0, 5), st.sampled_from(["batch", "anchor"])), max_size=3),
        min_size=1,
        max_size=5,
    )
)
def test_our_batch_with_extra_candidates_comes_back(extras: list[list[tuple[int, str]]]) -> None:
    train = tiny_domains()[0].train
    triplets = []
    for triplet, wanted in zip(train, extras, strict=False):
        made = tuple(Candidate(train[i].target, train[i].label, "near_miss", scope) for i, scope in wanted)  # type: ignore[arg-type]
        triplets.append(replace(triplet, negatives=made, weight=1.0 + len(made)))
    batch = tiny_collate()(triplets)
    again = join_examples(split_batch(batch))
    assert isinstance(again, Batch) and not difference(plain(again), plain(batch))


def plain(batch: Batch) -> dict[str, Any]:
    """All that a batch holds; its pictures and texts are objects without a comparison of their own."""
    pictures, texts = batch.pictures, batch.texts
    columns: dict[str, Any] = {
        name: [column.along, column.index, column.value] for name, column in sorted(batch.columns.items())
    }
    columns["pictures"][2] = {"names": pictures.names, "kind": pictures.kind, "pixels": pictures.pixels}
    columns["texts"][2] = {"names": texts.names, "ids": texts.ids}
    return {"owners": batch.owners, **columns}


def test_rows_are_copies_without_a_graph() -> None:
    weights = torch.ones(3, 2, requires_grad=True)
    rows = split_batch((2 * weights, torch.arange(3)))
    assert all(not part.requires_grad for row in rows for part in row)


def test_bytes_by_hand() -> None:
    row = {
        "pixels": torch.zeros(3, 4, dtype=torch.uint8),
        "x": torch.zeros(5),
        "text": "été",
        "names": ["a", "bc"],
    }
    assert size_in_bytes(row) == 12 + 20 + 5 + 3
    assert size_in_bytes(7) == size_in_bytes(0.5) == 8


def test_what_cannot_be_split_is_named() -> None:
    with pytest.raises(TypeError, match="cannot split a batch of type int"):
        split_batch(3)


def test_nested_columns_are_columns() -> None:
    batch = ((torch.arange(3), torch.zeros(3, 2)), (torch.ones(3), torch.ones(3)))
    assert len(split_batch(batch)) == 3


def test_a_foreign_dict_may_have_tokens_and_candidates() -> None:
    batch = {"tokens": torch.zeros(3, 4), "candidates": torch.ones(3, 2)}
    assert not difference(join_examples(split_batch(batch)), batch)


def test_rows_of_two_lengths_say_what_to_do() -> None:
    with pytest.raises(ValueError, match=r"one shape, not \(3,\) and \(5,\): pad texts to one length"):
        join_examples([{"words": torch.zeros(3)}, {"words": torch.zeros(5)}])
