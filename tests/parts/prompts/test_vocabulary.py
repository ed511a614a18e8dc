"""Words as rows of a table: where they stand, what is trained of them, and what is frozen."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from clplat.parts.composers.sum import Sum
from clplat.parts.prompts.vocabulary import VocabularyPrompt
from clplat.testing import PromptContract, tiny_retriever
from clplat.testing.runs import tiny_stream, tiny_trainer
from clplat.testing.tiny import tiny_backbone
from strategies import GrowingPrompt

WORDS = ["red", "shoe", "coat"]


class TestVocabularyPrompt(PromptContract):
    def make(self) -> VocabularyPrompt:
        return VocabularyPrompt()


def test_a_row_stands_wherever_a_text_has_its_word() -> None:
    backbone = tiny_backbone()
    VocabularyPrompt(words=WORDS).attach(backbone)
    table, ids = backbone.text_prompt, backbone.tokenize(["a red shoe", "a blue coat", "redder"])
    plain = backbone.embed_text(ids, bare=True)
    assert torch.equal(backbone.embed_text(ids), plain), "rows start from the words"
    with torch.no_grad():
        table.vectors.copy_(torch.randn(3, backbone.text_width))
    expected, known = plain.clone(), table.ids.tolist()
    for i, row in enumerate(ids.tolist()):
        for j, token in enumerate(row):
            if token in known:
                place = known.index(token)
                expected[i, j] = table.kept[place] + table.vectors[place]
    found = backbone.embed_text(ids)
    torch.testing.assert_close(found, expected)
    assert [int((found[i] != plain[i]).any(1).sum()) for i in range(3)] == [2, 1, 0], "slots of whole words"
    text = backbone.text(ids).pooled
    ends = backbone.text_ends(ids)
    torch.testing.assert_close(text, backbone.text_from_embeddings(expected, ends).pooled)
    assert torch.equal(backbone.text(ids, bare=True).pooled, tiny_backbone().text(ids).pooled)


def test_new_pairs_are_put_together_from_rows_of_others() -> None:
    backbone = tiny_backbone()
    VocabularyPrompt(words=WORDS).attach(backbone)
    loss = backbone.text(backbone.tokenize(["a red shoe", "a green coat"])).pooled.square().sum()
    torch.optim.AdamW([backbone.text_prompt.vectors], lr=0.1).zero_grad()
    loss.backward()
    assert (backbone.text_prompt.vectors.grad != 0).any(1).all()
    with torch.no_grad():
        backbone.text_prompt.vectors.sub_(0.1 * backbone.text_prompt.vectors.grad)
    new = backbone.tokenize(["a red coat"])
    assert not torch.equal(backbone.text(new).pooled, backbone.text(new, bare=True).pooled)


def test_rows_of_past_domains_stay_and_words_that_no_text_had_do_not_drift() -> None:
    backbone = tiny_backbone()
    VocabularyPrompt(words=WORDS).attach(backbone)
    table: Any = backbone.text_prompt
    place = {word: table.ids.tolist().index(int(backbone.tokenize([word])[0, 1])) for word in WORDS}

    def train(text: str) -> None:
        optimizer = torch.optim.AdamW([table.vectors], lr=0.1, weight_decay=0.5)
        for _ in range(2):
            optimizer.zero_grad()
            backbone.text(backbone.tokenize([text])).pooled.square().sum().backward()
            optimizer.step()

    def rows() -> torch.Tensor:
        return backbone.embed_text(table.ids[None])[0].detach()

    start = rows()
    train("red shoe")
    first = rows()
    moved = (first != start).any(1)
    assert [bool(moved[place[word]]) for word in WORDS] == [True, True, False], "weight decay moves no row"
    assert table.grow() and torch.equal(rows(), first)
    train("red coat")
    second = rows()
    moved = (second != first).any(1)
    assert [bool(moved[place[word]]) for word in WORDS] == [False, False, True]


def test_it_grows_with_a_stream() -> None:
    model = tiny_retriever(composer=Sum())
    trainer = tiny_trainer(GrowingPrompt(VocabularyPrompt(dropout=0.3)), model)
    trainer.train(tiny_stream()[:1], eval_streams=[])
    table: Any = model.backbone.text_prompt
    trained = table.vectors.ne(0).any(1)
    assert trained.any() and not trained.all()
    before = (table.kept + table.vectors)[trained].clone()
    trainer.train(tiny_stream()[1:], eval_streams=[])
    assert torch.equal(table.frozen, trained)
    assert torch.equal(model.eval().backbone.embed_text(table.ids[trained][None])[0], before)


def test_a_share_of_the_numbers_drops_out_in_training() -> None:
    backbone = tiny_backbone()
    VocabularyPrompt(words=WORDS, dropout=0.4).attach(backbone)
    ids = backbone.tokenize(["red"])
    row = backbone.embed_text(ids, bare=True)[0, 1]
    torch.manual_seed(0)
    dropped = backbone.train().embed_text(ids)[0, 1].detach()
    kept = dropped != 0
    assert 0.3 < float(kept.float().mean()) < 0.9
    torch.testing.assert_close(dropped[kept], row[kept] / 0.6)
    assert torch.equal(backbone.eval().embed_text(ids)[0, 1], row)


def test_what_is_refused() -> None:
    with pytest.raises(ValueError, match="dropout must be"):
        VocabularyPrompt(dropout=1.0)
