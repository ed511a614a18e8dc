"""No-answer detection: areas by counting pairs, and a head at the minimum of its loss."""

from __future__ import annotations

import math

import torch

from clplat.mechanisms.abstention import auroc, best_scores, coverage, fitted_head
from clplat.randomness import generator

DRAW = generator(0, "abstention")


def test_the_area_counts_pairs_and_half_of_ties() -> None:
    there, gone = torch.tensor([0.9, 0.5, 0.3]), torch.tensor([0.5, 0.2, 0.2, 0.8])
    pairs = [1.0 if a > b else 0.5 if a == b else 0.0 for a in there.tolist() for b in gone.tolist()]
    assert math.isclose(auroc(there, gone), sum(pairs) / len(pairs))
    assert auroc(gone, gone) == 0.5


def test_the_surest_are_answered_first() -> None:
    certainty, right = torch.tensor([0.1, 0.9, 0.5, 0.7]), torch.tensor([False, True, False, True])
    assert coverage(certainty, right, 0.5) == 1.0 and coverage(certainty, right, 1.0) == 0.5


def test_the_head_is_where_the_penalised_loss_has_no_slope_and_tells_removed_answers() -> None:
    scores = torch.rand(40, 6, generator=DRAW)
    scores[:, 0] += 0.6  # the answer
    removed = scores.clone()
    removed[:, 0] = -torch.inf
    features = torch.cat([best_scores(scores), best_scores(removed)])
    answerable = torch.arange(80) < 40
    weights = fitted_head(features, answerable)
    certainty = features.double() @ weights[:2] + weights[2]
    assert auroc(certainty[:40], certainty[40:]) > 0.8
    x = torch.cat([features.double(), torch.ones(80, 1).double()], 1)
    scale = torch.cat([features.double().std(0, correction=0), torch.ones(1).double()])
    slope = (x / scale).T @ (torch.sigmoid(certainty) - answerable.double()) / 80 + 1e-2 * weights * scale
    assert slope.abs().max() < 1e-6
