"""A text encoder as teacher: texts of queries, names of candidates, each embedded once."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.nn.functional import normalize

from clplat.cache.engine import FeatureCache
from clplat.cache.store import Store
from clplat.errors import UserError
from clplat.parts.teachers import sentences
from clplat.parts.teachers.sentences import Sentences, hashed_words
from clplat.testing import tiny_collate, tiny_domains, tiny_learner, tiny_retriever

BATCH = tiny_collate()(tiny_domains()[0].train[:6])


def test_queries_are_their_texts_and_candidates_what_they_show() -> None:
    part, learner = Sentences(), tiny_learner(tiny_retriever())
    part.begin(learner)
    found = part.outputs(learner, BATCH)
    texts = [triplet.text for triplet in tiny_domains()[0].train[:6]]
    assert torch.allclose(found.query, normalize(hashed_words(texts), dim=-1))
    assert torch.allclose(found.candidates, normalize(hashed_words(BATCH.labels), dim=-1))
    again = part.text_features(learner, BATCH.texts, {"pooled"}).pooled
    assert torch.equal(again, found.query)
    with pytest.raises(UserError, match="sees no pictures"):
        part.image_features(learner, BATCH.pictures, {"pooled"})
    with pytest.raises(ValueError, match="there is no folder nowhere"):
        Sentences("nowhere")


def test_a_folder_replaces_the_stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What transformers loads is not: how its states are pooled, and that a second run reads the store."""
    asked: list[int] = []

    class Read(dict[str, Any]):
        pass

    def tokenizer(texts: list[str], **_: Any) -> Read:
        asked.append(len(texts))
        ids = torch.tensor([[len(text) % 7, 2, 3] for text in texts])
        mask = torch.tensor([[1, 1, len(text) % 2] for text in texts])
        return Read(input_ids=ids, attention_mask=mask)

    tokenizer.pad_token = "."  # type: ignore[attr-defined]

    class Model(torch.nn.Module):
        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> Any:
            return SimpleNamespace(last_hidden_state=torch.stack([input_ids, input_ids**2], -1).float())

    library = SimpleNamespace(
        AutoTokenizer=SimpleNamespace(from_pretrained=lambda folder: tokenizer),
        AutoModel=SimpleNamespace(from_pretrained=lambda folder: Model()),
    )
    monkeypatch.setitem(__import__("sys").modules, "transformers", library)
    (tmp_path / "model").mkdir()
    rows = []
    for _ in range(2):
        student = tiny_retriever()
        student.cache = FeatureCache(student.backbone, Store(tmp_path / "store"))
        part, learner = Sentences(str(tmp_path / "model"), pooling="last"), tiny_learner(student)
        part.begin(learner)
        rows.append(part.outputs(learner, BATCH).query)
        student.cache.store.flush()
    calls = len(asked)
    wanted = [[3.0, 9.0] if len(said) % 2 else [2.0, 4.0] for said in BATCH.texts.said]
    assert torch.allclose(rows[0], normalize(torch.tensor(wanted), dim=-1)) and torch.equal(*rows)
    # The second run made the few rows by which the store is checked, and no others.
    assert calls == 3 and sentences.WIDTH == 256
