"""Batches of examples of every shape: what is there is embedded, and every column follows its examples."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from clplat.data.batch import Batch
from clplat.data.collate import item_columns
from clplat.data.columns import Column
from clplat.data.records import Candidate, Example, Item, Pair
from clplat.mechanisms.examples import join_examples, split_batch
from clplat.models.outputs import Outputs
from clplat.parts.composers.combiner import Combiner
from clplat.randomness import seeded
from clplat.testing import tiny_collate, tiny_domains, tiny_retriever
from clplat.testing.tiny import tiny_loss
from clplat.training.accumulation import embed_in_parts

TRAIN = tiny_domains()[0].train


def mixed() -> list[Example]:
    """Every kind of query with every kind of target, and negatives of all kinds."""
    kinds = [
        lambda i: Item.of(TRAIN[i].reference),
        lambda i: Item.of(text=f"a square of type {i}"),
        lambda i: Item.of(TRAIN[i].reference, f"make it number {i % 3}"),
    ]
    negatives = (
        Candidate("a red square", "red", "text"),
        Candidate(TRAIN[7].reference, "seven", "picture", "anchor"),
        Candidate(Item.of(TRAIN[8].reference, "but larger"), "eight", "both"),
    )
    made = []
    for i, (asks, answers) in enumerate(itertools.product(kinds, kinds)):
        groups = {"person": str(i % 2)} if i % 2 else {}
        own = negatives[: i % 4]
        made.append(
            Example(f"e{i}", asks(i), answers(i + 1), f"l{i}", "d", own, groups, {"rank": i}, 1.0 + i)
        )
    return made


def alone(retriever: Any, item: Item) -> Tensor:
    """The unit row of one item, by the towers themselves."""
    collate = tiny_collate()
    pixels = collate.pixels.images([item.picture]) if item.picture is not None else None
    picture = retriever.image_features(pixels) if pixels is not None else None
    text = retriever.text_features(collate.tokenize([item.text])) if item.text is not None else None
    if picture is not None and text is not None:
        return normalize(retriever.composer(picture, text), dim=-1)[0]
    return normalize((picture or text).pooled, dim=-1)[0]


def items_of(examples: Sequence[Example]) -> list[Item]:
    extra = [negative.item for example in examples for negative in example.negatives]
    return [*(e.query for e in examples), *(e.target for e in examples), *extra]


def quiet() -> Any:
    return tiny_retriever(composer=Combiner(8, 16, start="random")).eval()


@torch.no_grad()
def test_every_item_is_embedded_as_it_is_alone() -> None:
    examples, retriever = mixed(), quiet()
    outputs = retriever(tiny_collate()(examples))
    found = torch.cat([outputs.query, outputs.candidates])
    wanted = torch.stack([alone(retriever, item) for item in items_of(examples)])
    assert torch.allclose(found, wanted, atol=1e-5)


@torch.no_grad()
def test_a_gallery_of_any_items_is_embedded_as_each_is_alone() -> None:
    items, retriever, collate = items_of(mixed()), quiet(), tiny_collate()
    found = retriever.encode_items(*item_columns(items, collate.pixels.images, collate.tokenize))
    wanted = torch.stack([alone(retriever, item) for item in items])
    assert torch.allclose(found, wanted, atol=1e-5)


def values(batch: Batch) -> dict[str, Any]:
    """What a batch holds, item by item, whatever its rows share."""
    out: dict[str, Any] = {"owners": batch.owners}
    for name, column in batch.columns.items():
        if name in ("pictures", "texts"):
            held = batch.pictures.pixels if name == "pictures" else batch.texts.ids
            out[name] = [held[row].tolist() if row >= 0 else None for row in column.rows]
        else:
            out[name] = column.value.tolist() if isinstance(column.value, Tensor) else column.value
    return out


def with_columns(examples: Sequence[Example]) -> Batch:
    """A batch to which somebody added columns of their own."""
    batch = tiny_collate()(examples)
    number = torch.arange(len(batch.owners))
    batch.columns["boxes"] = Column(torch.stack([number, 10 * number], 1).float(), "candidate")
    batch.columns["note"] = Column([f"of {name}" for name in batch.ids])
    batch.columns["side"] = Column(torch.ones(2, 3), "item", [0, 1] + [-1] * (len(batch) + len(number) - 2))
    return batch


def test_a_part_is_the_batch_of_its_examples() -> None:
    examples = mixed()
    for rows in ([4], [1, 2, 3], [7, 0, 5]):
        order = sorted(rows) if rows != [7, 0, 5] else rows
        part = tiny_collate()(examples).part(order)
        own = tiny_collate()([examples[i] for i in order])
        if order == sorted(order):
            assert values(part) == values(own)
        assert part.ids == own.ids and part.labels[: len(order)] == own.labels[: len(order)]


def test_rows_come_back_as_the_batch_in_any_order() -> None:
    examples = mixed()
    batch = with_columns(examples)
    rows = split_batch(batch)
    assert values(join_examples(rows)) == values(batch)
    order = [6, 2, 8, 0]
    again = join_examples([rows[i] for i in order])
    wanted = values(tiny_collate()([examples[i] for i in order]))
    assert {name: value for name, value in values(again).items() if name in wanted} == wanted
    assert again["note"] == [f"of e{i}" for i in order]
    first = {i: next(c for c, owner in enumerate(batch.owners) if owner == i) for i in order}
    assert again["boxes"][:4].tolist() == [batch["boxes"][first[i]].tolist() for i in order]
    assert [row >= 0 for row in again.columns["side"].rows[:4]] == [False, False, False, True]


def test_a_memory_keeps_the_words_of_its_texts() -> None:
    """Composers may read them; what a release before kept has ids alone."""
    batch = tiny_collate()(mixed())
    rows = split_batch(batch)
    assert set(join_examples(rows[3:]).texts.said) <= set(batch.texts.said)
    column = batch.columns["texts"]
    held, at = [row for row in column.rows if row >= 0], [(0, place) for place in range(len(column.rows))]
    kept = column.kept(range(len(column.rows)))
    assert Column.restored([kept], at, "item").value.said == [batch.texts.said[row] for row in held]
    del kept["said"]
    assert Column.restored([kept], at, "item").value.said == [batch.texts.names[row] for row in held]


def test_a_column_needs_no_edit_elsewhere() -> None:
    batch = with_columns(mixed())
    moved = batch.to("cpu").part([1, 3])
    assert moved["note"] == ["of e1", "of e3"] and moved["boxes"].shape == (len(moved.owners), 2)
    with pytest.raises(ValueError, match="rows of different columns"):
        join_examples([*split_batch(batch), *split_batch(tiny_collate()(mixed()))])


def test_micro_batches_of_all_shapes_have_the_outputs_and_gradients_of_the_whole() -> None:
    batch = tiny_collate()([example for example in mixed() if example.label != "l0"])
    seen = []
    for size in (None, 3):
        retriever = quiet()
        retriever.backbone.requires_grad_(True)
        out: Outputs = retriever(batch) if size is None else embed_in_parts(retriever, batch, size)
        tiny_loss(batch, out).backward()
        seen.append(
            (out.scores(), {n: p.grad for n, p in retriever.named_parameters() if p.grad is not None})
        )
    assert torch.allclose(seen[0][0], seen[1][0], atol=1e-5) and seen[0][1].keys() == seen[1][1].keys()
    for name, gradient in seen[0][1].items():
        assert torch.allclose(gradient, seen[1][1][name], atol=1e-5 + 1e-4 * float(gradient.abs().max())), (
            name
        )


def test_only_what_is_there_is_decoded_tokenised_and_embedded_once() -> None:
    prompts = [Pair(str(i), TRAIN[i].reference, f"a {i % 2} square", "d") for i in range(6)]
    said: list[str] = []

    def tokenize(texts: Sequence[str]) -> Tensor:
        said.extend(texts)
        return tiny_collate().tokenize(texts)

    batch = type(tiny_collate())(tiny_collate().pixels, tokenize)(prompts)
    assert said == ["a 0 square", "a 1 square"] and len(batch.pictures) == 6
    assert batch.text_rows == [-1] * 6 + [0, 1] * 3 and batch.picture_rows == [*range(6), *[-1] * 6]
    assert batch.positive.sum() == 18 and batch.reference.shape[0] == 6
    with pytest.raises(ValueError, match="6 of 6 items of this batch have no picture"):
        _ = batch.candidates
    with pytest.raises(ValueError, match="6 of 6 queries of this batch have no text"):
        _ = batch.tokens


def test_a_batch_of_triplets_looks_as_it_always_did() -> None:
    triplets = [replace(t, negatives=(Candidate(TRAIN[5].reference, "five"),)) for t in TRAIN[:3]]
    batch = tiny_collate()(triplets)
    assert batch.composed and not tiny_collate()(mixed()).composed
    assert batch.picture_rows == list(range(9)) and batch.text_rows == [0, 1, 2] + [-1] * 6
    assert batch.reference.shape[0] == 3 and batch.candidates.shape[0] == 6 and batch.tokens.shape[0] == 3


def test_a_text_batch_trains_without_a_picture() -> None:
    pairs = [Pair(str(i), f"a {word}", f"ein {word}", "d") for i, word in enumerate(("dog", "cat", "cow"))]
    batch = tiny_collate()(pairs)
    retriever = tiny_retriever()
    retriever.backbone.requires_grad_(True)
    with seeded(0, "test"):
        tiny_loss(batch, retriever(batch)).backward()
    assert len(batch.pictures) == 0 and retriever.backbone.model.token_embedding.weight.grad is not None
    assert values(join_examples(split_batch(batch))) == values(batch)
