"""Streams that are not triplets alone: pairs for every strategy, and domains that nothing is learnt from."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from clplat import registry
from clplat.data.collate import Collate
from clplat.data.records import Domain
from clplat.errors import UserError
from clplat.parts.adapters.full import Full
from clplat.parts.composers.sum import Sum
from clplat.parts.transforms.captions import Captions
from clplat.runs.experiment import run
from clplat.testing import tiny_collate, tiny_domains, tiny_retriever
from clplat.testing.checks import difference, weights
from clplat.testing.runs import tiny_trainer
from clplat.training.streams import build_benchmark
from clplat.training.trainer import Trainer

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
STRATEGIES = [name for name in registry.names("strategies") if registry.load("strategies", name).trains]


def trainer_of(name: str) -> Trainer:
    strategy = registry.load("strategies", name)()
    adapter = None if "adapter" in strategy.brings else Full(last=1)
    return tiny_trainer(strategy, tiny_retriever(adapter, Sum()), epochs=1, batch_size=12)


def without(index: int) -> list[Domain]:
    """The tiny domains, of which one has no training data."""
    return [replace(d, train=()) if i == index else d for i, d in enumerate(tiny_domains())]


@pytest.mark.parametrize("name", [name for name in STRATEGIES if name != "feature_replay"])
def test_every_strategy_trains_on_pairs_of_pictures_and_texts(name: str) -> None:
    trainer = trainer_of(name)
    collate = tiny_collate()
    trainer.collate = Collate(collate.pixels, collate.tokenize, transform=Captions())
    trainer.train(build_benchmark(tiny_domains()).train_stream, eval_streams=[])
    still = not any(parameter.requires_grad for parameter in trainer.model.parameters())
    assert len(trainer.losses) >= (2 if still else 4), "or of the first domain, where nothing moves then"


def test_what_is_replayed_into_a_composer_refuses_pairs() -> None:
    trainer, collate = trainer_of("feature_replay"), tiny_collate()
    trainer.collate = Collate(collate.pixels, collate.tokenize, transform=Captions())
    with pytest.raises(
        UserError, match=r"needs a ComposedRetriever and composed queries.*pairs reach no composer"
    ):
        trainer.train(build_benchmark(tiny_domains()).train_stream, eval_streams=[])


def half() -> list[Any]:
    """Every other strategy, by its name; the rest are slow."""
    odd = {name: zlib.crc32(name.encode()) % 2 for name in STRATEGIES}
    return [pytest.param(name, marks=[pytest.mark.slow] if odd[name] else []) for name in STRATEGIES]


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_domain_without_training_data_changes_nothing(name: str) -> None:
    """Behind one that has some: what is learnt is what the other teaches alone."""
    ended = []
    for domains in (without(1), tiny_domains()[:1]):
        trainer = trainer_of(name)
        trainer.train(build_benchmark(domains).train_stream, eval_streams=[])
        ended.append((weights(trainer.model), trainer.strategy.state_dict(), trainer.step))
    assert not difference(*ended)


@pytest.mark.parametrize("name", half())
def test_training_begins_behind_a_domain_without_training_data(name: str) -> None:
    behind, alone = trainer_of(name), trainer_of(name)
    behind.train(build_benchmark(without(0)).train_stream, eval_streams=[])
    alone.train(build_benchmark(tiny_domains()[1:2]).train_stream, eval_streams=[])
    assert len(behind.losses) == len(alone.losses) >= 2


CLASSES = """
from dataclasses import replace
from clplat.data.fingerprint import stream_fingerprint
from clplat.data.records import Gallery, Item, Pair, Query, RetrievalSet
from clplat.testing import tiny_domains
from clplat.training.streams import build_benchmark

class Classes:
    '''Pictures ask, and the prompts of their classes answer.'''
    def build(self):
        return [
            replace(
                domain,
                train=[pair(example, example.target.picture) for example in domain.train],
                sets={name: asked(held) for name, held in domain.sets.items()},
            )
            for domain in tiny_domains()
        ], []
    def benchmark(self):
        return build_benchmark(*self.build())
    def fingerprint(self):
        return stream_fingerprint(*self.build())

def pair(example, picture):
    return Pair(example.id, picture, said(picture), example.domain)

def said(picture):
    return f"a photo of {picture.caption}"

def asked(held):
    shown = held.gallery.pictures
    prompts = {picture.caption: Item(picture.caption, text=said(picture)) for picture in shown}
    gallery = Gallery(held.gallery.name + "/classes", list(prompts.values()))
    queries = tuple(Query(picture.key, picture, None, (picture.caption,)) for picture in shown)
    return RetrievalSet(queries, gallery, replace(held.protocol, name="classes"))
"""


def test_pictures_are_classified_by_prompts_on_a_whole_stream(
    small_backbone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "clplat_test_classes.py").write_text(CLASSES)
    monkeypatch.syspath_prepend(tmp_path)
    raw = {
        "scenario": "clplat_test_classes:Classes",
        "backbone": f"local-dir:{small_backbone}",
        "loss": {"name": "info_nce", "symmetric": True},
        "strategy": {"name": "replay", "size": 8, "batch_size": 4},
        "train": {"epochs": 2, "batch_size": 8, "lr": 1e-3},
        "probes": "none",
    }
    result = run(raw, tmp_path / "run")
    table = torch.tensor(result["metrics"]["R@1"])
    assert result["status"] == "complete" and table.shape == (3, 2)
    assert table[2].mean() > table[0].mean() and not result["baselines"]
    assert result["cost"]["exemplar_bytes"] > 0


BROKEN = """
from dataclasses import replace
from clplat.training.streams import build_benchmark
from clplat.data.fingerprint import stream_fingerprint
from scenarios.catalogue import Catalogue

class Gappy(Catalogue):
    '''The catalogue, with a domain that is only evaluated.'''
    def __init__(self, empty: int = 0) -> None:
        super().__init__(domains=2, train=16, queries=20, gallery=20, size=16)
        self.empty = empty
    def build(self):
        domains, probes = super().build()
        return [replace(d, train=()) if i == self.empty else d for i, d in enumerate(domains)], probes
"""


@pytest.fixture
def experiment(small_backbone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    (tmp_path / "clplat_test_gappy.py").write_text(BROKEN)
    monkeypatch.syspath_prepend(tmp_path)

    def call(empty: int, **more: Any) -> Any:
        scenario = {"name": "clplat_test_gappy:Gappy", "empty": empty}
        raw = {
            "scenario": scenario,
            "backbone": f"local-dir:{small_backbone}",
            "train": {"epochs": 1},
            **more,
        }
        return run(raw, tmp_path / f"run{empty}-{more['strategy']}")

    return call


def test_a_whole_experiment_with_a_domain_that_is_only_evaluated(experiment: Callable[..., Any]) -> None:
    result = experiment(1, strategy="mas", projection="procrustes")
    table = torch.tensor(result["metrics"]["R@5"])
    assert result["status"] == "complete" and table.shape == (3, 2)
    assert torch.equal(table[2], table[1]) and result["cost"]["optimizer_steps"] == 1
    assert result["scores"][2]["backfill"] == 0.0


def test_a_projection_needs_pictures_to_be_fitted_on(experiment: Callable[..., Any]) -> None:
    assert experiment(0, strategy="replay")["status"] == "complete"
    with pytest.raises(UserError, match=r"no training pictures in dress-studio that a projection could be"):
        experiment(0, strategy="naive", projection="procrustes", seed=1)
