"""The cache as a map of queries: logits of classes by hand, answers in their place, and a run."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import normalize

from clplat.mechanisms.caches import ClassGaussians
from clplat.mechanisms.transduction import transduced
from clplat.parts.postprocessors._base import Banks, Scored
from clplat.parts.postprocessors.cache import Cache
from clplat.randomness import generator
from clplat.runs.experiment import run
from clplat.testing import PostProcessorContract

DRAW = generator(0, "cache")
CLASSES = normalize(torch.randn(3, 5, generator=DRAW), dim=1)
OWN = torch.arange(8) % 3
KEYS = normalize(CLASSES[OWN] + torch.randn(8, 5, generator=DRAW), dim=1)
BANKS = Banks(KEYS, CLASSES, answers=CLASSES[OWN], labels=tuple(f"class {i}" for i in OWN.tolist()))
ASKED = normalize(torch.randn(4, 5, generator=DRAW), dim=1)


class TestAnswers(PostProcessorContract):
    def make(self) -> Cache:
        return Cache(weight=10.0, gives="answers", answers=0.3, likeness="times", shots=2)


def logits(part: Cache) -> torch.Tensor:
    part.fit(BANKS)
    q, g = part.map(Scored(ASKED), Scored(CLASSES))
    return 100.0 * q.double() @ g.double().T


def test_scores_are_the_logits_of_tip_adapter() -> None:
    got = logits(Cache(weight=2.0, sharpness=3.0))
    for i, query in enumerate(ASKED.double()):
        for c in range(3):
            expected = 100.0 * float(query @ CLASSES[c].double())
            expected += 2.0 * sum(
                math.exp(-3.0 * (1 - float(query @ key)))
                for key, own in zip(KEYS.double(), OWN, strict=True)
                if own == c
            )
            assert float(got[i, c]) == pytest.approx(expected, abs=1e-3)


def test_transduced_labels_are_shares_that_know_no_label() -> None:
    shares = transduced(KEYS, (100.0 * KEYS.double() @ CLASSES.double().T).softmax(1))
    part = Cache(weight=2.0, sharpness=3.0, labels="transduced")
    for got in (logits(part), logits(part)):
        for i, query in enumerate(ASKED.double()):
            kernel = torch.tensor(
                [math.exp(-3.0 * (1 - float(query @ key))) for key in KEYS.double()]
            ).double()
            expected = 100.0 * CLASSES.double() @ query + 2.0 * kernel @ shares
            assert torch.allclose(got[i], expected, atol=1e-3)
    mixed = Banks(KEYS, CLASSES, answers=CLASSES[OWN], labels=BANKS.labels)
    moved = Cache(gives="answers", labels="transduced", weight=50.0)
    moved.fit(mixed)
    q, _ = moved.map(Scored(ASKED), Scored(CLASSES))
    assert not torch.equal(q, ASKED) and torch.isfinite(q).all()
    with pytest.raises(ValueError, match="shares of every key"):
        Cache(labels="transduced", shots=4)


def test_gaussians_are_added_to_the_same_logits() -> None:
    held = ClassGaussians(3, 5)
    held.add(KEYS, OWN)
    weights, bias = held.classifier()
    expected = 100.0 * ASKED.double() @ CLASSES.double().T + 0.5 * (ASKED.double() @ weights.T + bias)
    assert torch.allclose(logits(Cache(weight=0.5, model="gaussian")), expected, atol=1e-3)


def test_gaussians_move_the_query_to_the_answers_of_likely_classes() -> None:
    held = ClassGaussians(3, 5)
    held.add(KEYS, OWN)
    weights, bias = held.classifier()
    shares = (ASKED.double() @ weights.T + bias).softmax(1)
    centred = CLASSES.double() - CLASSES.double().mean(0)
    expected = 100.0 * (ASKED.double() + 0.2 * shares @ centred) @ CLASSES.double().T
    assert torch.allclose(logits(Cache(weight=20.0, model="gaussian", gives="answers")), expected, atol=1e-3)


def test_answers_in_place_of_classes_move_the_query() -> None:
    got = logits(Cache(weight=50.0, sharpness=2.0, gives="answers"))
    for i, query in enumerate(ASKED.double()):
        moved = query.clone()
        mean = CLASSES[OWN].double().mean(0)
        for key, answer in zip(KEYS.double(), CLASSES[OWN].double(), strict=True):
            moved += 0.5 * math.exp(-2.0 * (1 - float(query @ key))) * (answer - mean)
        assert torch.allclose(got[i], 100.0 * CLASSES.double() @ moved, atol=1e-3)


class TestTrainedKeys(PostProcessorContract):
    def make(self) -> Cache:
        return Cache(weight=10.0, gives="answers", steps=3)


def test_trained_keys_are_those_of_tip_adapter_f_without_oneself() -> None:
    """One step by hand, at the code's optimizer, on a batch of all rows."""
    part = Cache(weight=2.0, sharpness=3.0, steps=1, rate=1e-2)
    part.fit(BANKS)
    assert part._keys is not None
    rows, classes = KEYS.double(), CLASSES.double()
    keys = rows.clone().requires_grad_()
    optimizer = torch.optim.AdamW([keys], lr=1e-2, eps=1e-4)
    logits = []
    for i in range(8):
        cache = torch.zeros(3).double()
        for j in range(8):
            if j != i:
                kernel = torch.exp(-(3.0 - 3.0 * rows[i] @ keys[j]))
                cache = cache + kernel * torch.eye(3).double()[OWN[j]]
        logits.append(100.0 * classes @ rows[i] + 2.0 * cache)
    torch.nn.functional.cross_entropy(torch.stack(logits), OWN).backward()
    optimizer.step()
    assert torch.allclose(part._keys, keys.detach(), atol=1e-9) and not torch.allclose(part._keys, rows)


def test_training_keys_goes_with_plain_ones_alone() -> None:
    with pytest.raises(ValueError, match="trained keys are plain"):
        Cache(steps=5, shots=2)
    with pytest.raises(ValueError, match="steps of at least 0"):
        Cache(steps=-1)


def test_a_version_without_answers_ranks_as_before() -> None:
    part = Cache()
    part.fit(Banks(KEYS, CLASSES[:0]))
    q, g = part.map(Scored(ASKED), Scored(CLASSES))
    assert torch.equal(q, ASKED) and torch.equal(g, CLASSES)


def test_a_run_fits_it_for_every_pair_of_versions(small_backbone: Path, tmp_path: Path) -> None:
    sizes = {"domains": 2, "train": 16, "queries": 20, "gallery": 20, "size": 16}
    raw = {
        "backbone": f"local-dir:{small_backbone}",
        "scenario": {"name": "catalogue", **sizes},
        "strategy": "frozen",
        "probes": "none",
        "postprocessor": {"name": "cache", "weight": 50.0, "gives": "answers"},
        "evaluation": {"anchors": 16},
    }
    found = run(raw, tmp_path / "run")["sets"]["test/processed"]
    assert [len(row) for row in found["compatibility"]["R@5"]] == [1, 2, 3]
    assert not any(found["gain"]["R@5"][0]), "the untrained model saw no domain"


@pytest.mark.parametrize(
    "wrong",
    [
        {"weight": -1.0},
        {"gives": "mine"},
        {"model": "gaussian", "answers": 0.5},
        {"answers": 2.0},
        {"shots": -1},
    ],
)
def test_what_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"must be|needs weight|leave out"):
        Cache(**wrong)
