"""Examples the other way round, and NegCLIP's loss for composed retrieval."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from clplat.data.collate import Collate
from clplat.data.records import Candidate, Item
from clplat.parts.adapters.peft import LoRA
from clplat.parts.composers.combiner import Combiner
from clplat.parts.losses.info_nce import InfoNCE
from clplat.parts.transforms._base import Several
from clplat.parts.transforms.swapped_words import SwappedWords
from clplat.parts.transforms.turned import Turned
from clplat.progress import Progress
from clplat.randomness import generator
from clplat.testing import tiny_collate, tiny_domains, tiny_retriever
from clplat.testing.runs import tiny_trainer
from clplat.training.streams import build_benchmark
from strategies import Naive

TRAIN = tiny_domains()[0].train


def collate(*parts: Any) -> Collate:
    return Collate(tiny_collate().pixels, tiny_collate().tokenize, transform=Several(parts))


def test_twice_is_the_example_again_without_its_negatives() -> None:
    example = replace(TRAIN[0], negatives=(Candidate(TRAIN[1].reference, "x"),), weight=2.0)
    once = Turned()(example, torch.Generator())
    assert (once.query, once.target, once.negatives) == (example.target, example.query, ())
    assert Turned()(once, torch.Generator()) == replace(example, negatives=())


@torch.no_grad()
def test_both_directions_are_those_of_the_triplets() -> None:
    retriever = tiny_retriever(composer=Combiner(8, 16, start="random")).eval()
    batch, turned = tiny_collate()(TRAIN[:6]), collate(Turned())(TRAIN[:6])
    outputs, other = retriever(batch), retriever(turned)
    assert torch.allclose(outputs.query, other.candidates, atol=1e-6)
    assert torch.allclose(outputs.candidates, other.query, atol=1e-6)
    both = InfoNCE(symmetric=True)
    assert float(both(other, turned, Progress())) == pytest.approx(float(both(outputs, batch, Progress())))


def test_a_wrong_change_keeps_the_reference() -> None:
    words = "is red instead of blue"
    example = replace(TRAIN[0], query=Item.of(TRAIN[0].reference, words))
    made = Several([Turned(), SwappedWords(count=9)])(example, generator(0))
    found = {(n.item.picture, n.item.text) for n in made.negatives}
    assert (TRAIN[0].reference, "is blue instead of red") in found


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_the_composer_is_trained_on_the_candidates_side() -> None:
    trainer = tiny_trainer(Naive(), tiny_retriever(LoRA()), epochs=1)
    trainer.collate = collate(Turned())
    before = {name: p.detach().clone() for name, p in trainer.model.composer.named_parameters()}
    trainer.train(build_benchmark(tiny_domains()[:1]).train_stream, eval_streams=[])
    moved = [
        name for name, p in trainer.model.composer.named_parameters() if not torch.equal(p, before[name])
    ]
    assert moved == list(before)
