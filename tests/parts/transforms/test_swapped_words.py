"""NegCLIP's negatives: what they are, that they are drawn by the moment, and that memories keep them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from clplat.cli import main
from clplat.data.collate import Collate
from clplat.data.records import Example, Pair
from clplat.mechanisms.memory import Memory
from clplat.parts.adapters.peft import LoRA
from clplat.parts.composers.sum import Sum
from clplat.parts.transforms._base import Several, Transform
from clplat.parts.transforms.captions import Captions
from clplat.parts.transforms.swapped_words import SwappedWords
from clplat.randomness import generator
from clplat.testing import TransformContract, tiny_collate, tiny_domains, tiny_retriever
from clplat.testing.checks import difference
from clplat.testing.runs import everything, finish, resumed, tiny_trainer
from strategies import Replay

CAPTION = "a small red bag with a long handle"


def pair(text: str = CAPTION) -> Example:
    return Pair("0", "ein Bild", text, "bags")


def negatives(example: Example, seed: int = 0, **options: Any) -> list[tuple[str | None, str]]:
    made = SwappedWords(**options)(example, generator(seed)).negatives
    return [(negative.item.text, negative.kind) for negative in made]


class TestSwappedWords(TransformContract):
    def make(self) -> Transform:
        return SwappedWords(count=2, scope="anchor")


def test_every_kind_of_word_is_swapped() -> None:
    assert set(negatives(pair(), count=99)) == {
        ("a small red handle with a long bag", "swapped_noun"),
        ("a long red bag with a small handle", "swapped_adjective"),
        ("a small long bag with a red handle", "swapped_adjective"),
        ("a long handle with a small red bag", "swapped_phrase"),
    }


def test_one_is_drawn_and_all_come_in_time() -> None:
    drawn = [negatives(pair(), seed) for seed in range(40)]
    assert all(len(one) == 1 for one in drawn) and len({one[0] for one in drawn}) == 4


def test_a_text_that_cannot_be_made_wrong_gets_none() -> None:
    assert negatives(pair("a red bag")) == []


def test_a_negative_that_is_right_for_another_picture_is_no_negative_of_it() -> None:
    wrong = pair("a red bag with a blue bow")
    right = replace(pair("a blue bag with a red bow"), id="1")
    collate = Collate(tiny_collate().pixels, tiny_collate().tokenize, transform=SwappedWords(count=9))
    batch = collate([wrong, right])
    same = [c for c, label in enumerate(batch.labels) if label == "a blue bag with a red bow"]
    assert len(same) == 2 and batch.positive[1, same].all() and not batch.positive[0, same].any()


def test_a_triplet_is_refused_with_the_way_out() -> None:
    with pytest.raises(ValueError, match="--transform captions,swapped_words"):
        SwappedWords()(tiny_domains()[0].train[0], torch.Generator())


def caption_collate(seed: int = 0) -> Collate:
    """Pairs with captions that can be made wrong, and their negatives."""
    longer = Several([Captions(), _Longer(), SwappedWords()])
    return Collate(tiny_collate().pixels, tiny_collate().tokenize, transform=longer, seed=seed)


class _Longer(Transform):
    def __call__(self, example: Example, draw: torch.Generator) -> Example:
        said = f"{example.target.text} on a brown table"
        return replace(Pair(example.id, example.query, said, example.domain), weight=example.weight)


def test_moments_and_seeds_decide_what_is_drawn() -> None:
    train = tiny_domains()[0].train

    def said(collate: Collate) -> list[str]:
        return collate(train).labels[len(train) :]

    first, again, other = (said(caption_collate().at(moment)) for moment in ("0/0", "0/0", "0/1"))
    assert first == again != other != said(caption_collate(seed=1).at("0/1"))
    assert said(caption_collate()) == said(caption_collate())


def test_a_memory_stores_the_negatives_that_were_trained_on() -> None:
    class Learner:
        collate = staticmethod(caption_collate())

    memory = Memory(6, "reservoir", 0)
    memory.add(Learner, tiny_domains()[0].train)
    batch = memory.sample(6)
    assert batch is not None and set(batch.kinds[6:]) <= {
        "swapped_noun",
        "swapped_adjective",
        "swapped_phrase",
    }
    assert len(batch.owners) == 12 and not any(row >= 0 for row in batch.text_rows[:6])


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_training_on_pairs_with_a_memory_goes_on_to_the_bit() -> None:
    def trainer() -> Any:
        model = tiny_retriever(LoRA(lora_dropout=0.3), Sum())
        made = tiny_trainer(Replay(size=12, batch_size=7), model)
        made.collate = caption_collate()
        return made

    whole = finish(trainer())
    assert all(loss["replay"] > 0 for loss in whole.trainer.losses[6:])
    for checkpoint in ("4", "border", "10"):
        again = resumed(whole, checkpoint, trainer())
        assert not difference(everything(whole.trainer), everything(again)), checkpoint


def test_a_run_says_what_it_trains_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = "run --transform swapped_words --scenario.domains 1 --scenario.train 8 --scenario.queries 20"
    out = ["--scenario.gallery", "20", "--no-track", "--out", str(tmp_path / "run")]
    assert main([*words.split(), *out]) == 2
    said = capsys.readouterr().err
    assert "transform: swapped_words needs a text as target" in said and said.count("\n") == 1
