"""Several teachers as one: each row by who finds its other side, computed slowly in float64."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from clplat.errors import UserError
from clplat.parts.teachers._base import TeacherPart, teacher_named
from clplat.parts.teachers.backbone import OtherBackbone
from clplat.parts.teachers.ensemble import Ensemble
from clplat.testing import (
    TeacherContract,
    TinyTowers,
    nudge,
    tiny_collate,
    tiny_domains,
    tiny_learner,
    tiny_retriever,
)

BATCH = tiny_collate()(tiny_domains()[0].train[:6])


class TestEnsemble(TeacherContract):
    """Of two that move; the default is tested below."""

    def make(self) -> TeacherPart:
        return Ensemble([teacher_named("average"), teacher_named("momentum")])


def slow(rows: list[Tensor], others: list[Tensor], temperature: float, sharpness: float) -> Tensor:
    """One side of the batch, example by example."""
    across = normalize(torch.stack(others).double().mean(0), dim=-1)
    found = []
    for i in range(len(across)):
        logs = []
        for one in rows:
            logits = [float(one[i].double() @ across[j]) / temperature for j in range(len(across))]
            logs.append((logits[i] - math.log(sum(map(math.exp, logits)))) / sharpness)
        weights = [math.exp(x) / sum(map(math.exp, logs)) for x in logs]
        mixed = sum(w * one[i].double() for w, one in zip(weights, rows, strict=True))
        found.append(normalize(torch.as_tensor(mixed), dim=-1))
    return torch.stack(found)


def test_each_example_is_taken_from_who_finds_its_other_side() -> None:
    part, model = Ensemble(temperature=0.1, sharpness=0.3), TinyTowers()
    learner, made = tiny_learner(model), []
    for _ in range(2):
        made.append(model(BATCH))
        part.begin(learner)
        nudge(model, 0.4)
    queries, targets = [o.query.detach() for o in made], [o.candidates[:6].detach() for o in made]
    found = part.outputs(learner, BATCH)
    assert torch.allclose(found.query.double(), slow(queries, targets, 0.1, 0.3), atol=1e-5)
    assert torch.allclose(found.candidates[:6].double(), slow(targets, queries, 0.1, 0.3), atol=1e-5)
    part.sharpness = None
    mean = normalize((queries[0] + queries[1]) / 2, dim=-1)
    assert torch.allclose(part.outputs(learner, BATCH).query, mean, atol=1e-6)


def test_it_moves_with_one_that_does() -> None:
    assert Ensemble([teacher_named("initial"), teacher_named("momentum")]).moves and not Ensemble().moves


def test_what_does_not_fit_is_said() -> None:
    with pytest.raises(ValueError, match="at least two"):
        Ensemble([teacher_named("initial")])
    part, learner = Ensemble([teacher_named("initial"), OtherBackbone()]), tiny_learner(tiny_retriever())
    part.begin(learner)
    with pytest.raises(UserError, match=r"of one width, not \[24, \d+\]: dual_teacher"):
        part.outputs(learner, BATCH)
    with pytest.raises(UserError, match="no features of pictures alone"):
        part.image_features(SimpleNamespace(), BATCH.pictures, {"pooled"})  # type: ignore[arg-type]
