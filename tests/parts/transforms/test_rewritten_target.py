"""Answers in words in place of pictures."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from clplat.data.records import Item, Picture
from clplat.data.text_table import TextTable
from clplat.parts.losses.info_nce import InfoNCE
from clplat.parts.transforms.rewritten_target import RewrittenTarget
from clplat.progress import Progress
from clplat.testing import tiny_collate, tiny_domains, tiny_retriever

TRAIN = tiny_domains()[0].train
DRAW = torch.Generator


def test_the_loss_is_infonce_over_rewritten_and_original_captions_by_hand() -> None:
    """Four queries against the distinct texts: SCOT's loss, in float64."""
    some = [TRAIN[i] for i in (0, 1, 7, 12)]
    made = [RewrittenTarget()(example, DRAW()) for example in some]
    retriever = tiny_retriever().eval()
    batch = tiny_collate()(made)
    with torch.no_grad():
        outputs = retriever(batch)
        found = InfoNCE(temperature=0.1)(outputs, batch, Progress())
        said = [e.target.text for e in made] + [n.item.text for e in made for n in e.negatives]
        rows = retriever.encode_texts(retriever.backbone.tokenize(said)).double()
        asked = retriever.encode_queries(
            batch.pictures, retriever.backbone.tokenize([e.text for e in made])
        ).double()
    logits = asked @ rows.T / 0.1
    losses = []
    for i, example in enumerate(made):
        right = [j for j, text in enumerate(said) if text == example.target.text]
        losses.append((logits[i].logsumexp(0) - logits[i][right]).mean())
    assert float(found) == pytest.approx(float(torch.stack(losses).mean()), abs=1e-4)


def test_a_table_gives_the_answers_and_what_is_missing_is_told(tmp_path) -> None:
    example, shown = TRAIN[0], TRAIN[0].reference
    rows = {(shown.key, ""): ("one",), (shown.key, example.text): ("two", "three")}
    TextTable(rows).write(tmp_path / "t.jsonl")
    part = RewrittenTarget(str(tmp_path / "t.jsonl"))
    drawn = {part(example, DRAW().manual_seed(i)).target.text for i in range(20)}
    made = part(example, DRAW())
    assert drawn == {"two", "three"} and made.label == made.target.text and made.query == example.query
    assert [(n.item.text, n.kind, n.scope) for n in made.negatives] == [("one", "unchanged", "batch")]
    assert RewrittenTarget(original=False)(example, DRAW()).negatives == ()
    with pytest.raises(ValueError, match="has no texts of picture"):
        part(TRAIN[1], DRAW())


def test_a_caption_that_stays_is_no_negative_and_other_examples_stay() -> None:
    shown = TRAIN[0].reference
    same = replace(TRAIN[0], query=Item.of(shown, "is red"))
    assert RewrittenTarget()(same, DRAW()).negatives == ()
    words = replace(TRAIN[0], query=Item.of(text="a dog"))
    assert RewrittenTarget()(words, DRAW()) is words
    bare = replace(TRAIN[0], query=Item.of(Picture("bare", shown.load), "is red"))
    with pytest.raises(ValueError, match="picture 'bare' has no caption"):
        RewrittenTarget()(bare, DRAW())
