"""InfoNCE against loops in float64 and torch's cross entropy."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy, normalize

from clplat.config.resolve import resolve, spaces
from clplat.models.outputs import Outputs, cosines
from clplat.parts.losses.info_nce import InfoNCE, info_nce
from clplat.progress import Progress


def slow(
    query, candidates, scale, positive, valid, targets=None, weights=None, multi="mean", symmetric=False
):
    """The definition, one number at a time."""
    cos = normalize(query.double(), dim=1) @ normalize(candidates.double(), dim=1).T
    weights = [1.0] * len(query) if weights is None else weights.tolist()

    goal = positive.double() if targets is None else targets

    def one_way(cos, goal, valid):
        total = mass = 0.0
        for i, row in enumerate(cos):
            usable = [j for j in range(len(row)) if valid[i][j]]
            own = {j: goal[i][j] for j in usable if goal[i][j] > 0}
            if not own:
                continue
            log_sum = math.log(sum(math.exp(scale * row[j]) for j in usable))
            if multi == "sum" and targets is None:
                loss = log_sum - math.log(sum(math.exp(scale * row[j]) for j in own))
            else:
                loss = sum(share / sum(own.values()) * (log_sum - scale * row[j]) for j, share in own.items())
            total += weights[i] * loss
            mass += weights[i]
        return total / mass if mass else 0.0

    forth = one_way(cos.tolist(), goal.tolist(), valid.tolist())
    if not symmetric:
        return forth
    B = len(query)
    return (forth + one_way(*(matrix[:, :B].T.tolist() for matrix in (cos, goal, valid)))) / 2


def contrast(loss, query, candidates, scale=None, **masks):
    """The pure function with the settings of a loss, on embeddings of any length."""
    scale = scale if loss.temperature is None else 1 / loss.temperature
    return info_nce(cosines(query, candidates, scale), symmetric=loss.symmetric, multi=loss.multi, **masks)


def test_queries_of_other_answers_are_negatives_on_the_own_side():
    query, candidates, positive, valid, weights, _ = data(1)
    outputs = Outputs(normalize(query, dim=1), normalize(candidates, dim=1), torch.tensor(7.0))

    class Batch:
        pass

    batch = Batch()
    batch.positive, batch.valid, batch.weights = positive, valid, weights
    other = ~(positive[:, None] & positive[None]).any(2)
    both = torch.cat([candidates, query])
    masks = torch.cat([positive, torch.zeros_like(other)], 1), torch.cat([valid, other], 1)
    found = InfoNCE(own_side=True)(outputs, batch, Progress())
    expected = slow(query, both, 7.0, *masks, weights=weights)
    assert float(found) == pytest.approx(expected, rel=1e-4)
    assert not bool(other.diagonal().any()), "no query is its own negative"


def test_the_loss_is_the_function_of_the_models_scores():
    query, candidates, positive, valid, weights, _ = data(1)
    outputs = Outputs(normalize(query, dim=1), normalize(candidates, dim=1), torch.tensor(7.0))

    class Batch:
        pass

    batch = Batch()
    batch.positive, batch.valid, batch.weights = positive, valid, weights
    for loss in (InfoNCE(), InfoNCE(0.2, symmetric=True), InfoNCE(multi="sum")):
        found = loss(outputs, batch, Progress())
        masks = {"positive": positive, "valid": valid, "weights": weights}
        assert torch.allclose(found, contrast(loss, query, candidates, 7.0, **masks), rtol=1e-5)
    outputs.scorer = lambda left, right: -torch.cdist(left, right)
    expected = info_nce(-7.0 * torch.cdist(outputs.query, outputs.candidates), **masks)
    assert torch.allclose(InfoNCE()(outputs, batch, Progress()), expected)


def data(seed, rows=6, extra=5, width=8):
    g = torch.Generator().manual_seed(seed)
    query, candidates = torch.randn(rows, width, generator=g), torch.randn(rows + extra, width, generator=g)
    diagonal = torch.eye(rows, rows + extra, dtype=torch.bool)
    positive = diagonal | (torch.rand(rows, rows + extra, generator=g) < 0.2)
    valid = diagonal | (torch.rand(rows, rows + extra, generator=g) < 0.7)
    return query, candidates, positive, valid, torch.rand(rows, generator=g), g


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 10**6), st.sampled_from(["mean", "sum"]), st.booleans(), st.booleans(), st.integers(0, 5)
)
def test_equals_the_definition(seed, multi, symmetric, soft, extra):
    query, candidates, positive, valid, weights, g = data(seed, extra=extra)
    targets = torch.rand(positive.shape, generator=g).double() if soft else None
    loss = InfoNCE(multi=multi, symmetric=symmetric)
    found = contrast(
        loss,
        query,
        candidates,
        scale=7.0,
        positive=positive,
        valid=valid,
        soft_targets=targets,
        weights=weights,
    )
    expected = slow(query, candidates, 7.0, positive, valid, targets, weights, multi, symmetric)
    assert found.item() == pytest.approx(expected, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("multi", ["mean", "sum"])
def test_one_positive_is_cross_entropy(multi):
    query, candidates, *_ = data(0)
    logits = 20.0 * normalize(query, dim=1) @ normalize(candidates, dim=1).T
    found = contrast(InfoNCE(temperature=0.05, multi=multi), query, candidates)
    assert found.item() == pytest.approx(cross_entropy(logits, torch.arange(6)).item(), rel=1e-5)


def test_symmetric_is_the_loss_of_clip():
    query, candidates, *_ = data(0, extra=0)
    logits = 14.0 * normalize(query, dim=1) @ normalize(candidates, dim=1).T
    expected = (cross_entropy(logits, torch.arange(6)) + cross_entropy(logits.T, torch.arange(6))) / 2
    found = contrast(InfoNCE(symmetric=True), query, candidates, scale=torch.tensor(14.0))
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)


def test_soft_targets_of_the_positives_are_the_mean_form():
    query, candidates, positive, valid, weights, _ = data(3)
    options = {"scale": 5.0, "valid": valid, "weights": weights}
    hard = contrast(InfoNCE(), query, candidates, positive=positive, **options)
    soft = contrast(InfoNCE(), query, candidates, soft_targets=3.0 * positive, **options)
    assert torch.allclose(hard, soft)


def test_a_masked_candidate_is_as_good_as_absent():
    query, candidates, *_ = data(4)
    valid = torch.ones(6, 11, dtype=torch.bool)
    valid[:, 8:] = False
    candidates = candidates.requires_grad_()
    loss = contrast(InfoNCE(temperature=0.1), query, candidates, valid=valid)
    assert torch.allclose(loss, contrast(InfoNCE(temperature=0.1), query, candidates[:8]))
    loss.backward()
    assert candidates.grad is not None and (candidates.grad[8:] == 0).all()


def test_a_false_negative_hurts_and_a_positive_does_not():
    """Two triplets with the same answer: unmarked, each is taken for a wrong answer of the other."""
    query = candidates = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    same = torch.tensor([[1, 1, 0], [1, 1, 0], [0, 0, 1]]).bool()
    found = contrast(InfoNCE(multi="sum"), query, candidates, scale=100.0, positive=same)
    assert found.item() == pytest.approx(0.0, abs=1e-6)
    assert contrast(InfoNCE(), query, candidates, scale=100.0).item() == pytest.approx(
        math.log(2) * 2 / 3, rel=1e-5
    )


@pytest.mark.parametrize("multi", ["mean", "sum"])
@pytest.mark.parametrize("symmetric", [False, True])
def test_rows_without_a_positive_are_skipped_without_nan(multi, symmetric):
    query, candidates, *_ = data(5)
    positive, valid = torch.eye(6, 11, dtype=torch.bool), torch.ones(6, 11, dtype=torch.bool)
    valid[2] = False  # masked entirely
    positive[4] = False  # nothing to find
    query.requires_grad_()
    loss = contrast(
        InfoNCE(multi=multi, symmetric=symmetric),
        query,
        candidates,
        scale=9.0,
        positive=positive,
        valid=valid,
    )
    expected = slow(query.detach(), candidates, 9.0, positive, valid, multi=multi, symmetric=symmetric)
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    loss.backward()
    assert torch.isfinite(query.grad).all()
    assert (query.grad[2] == 0).all()
    with pytest.raises(ValueError, match="no query has a valid positive"):
        contrast(InfoNCE(), query, candidates, scale=9.0, positive=positive & False)


def test_weights():
    query, candidates, *_ = data(6)
    loss = InfoNCE(temperature=0.2)
    only = torch.tensor([0.0, 0.0, 2.0, 0.0, 0.0, 0.0])
    alone = contrast(loss, query[[2]], candidates[[2, 0, 1, *range(3, 11)]])
    assert torch.allclose(contrast(loss, query, candidates, weights=only), alone)
    assert torch.allclose(
        contrast(loss, query, candidates, weights=torch.full((6,), 0.3)), contrast(loss, query, candidates)
    )
    assert contrast(loss, query, candidates, weights=torch.zeros(6)).item() == 0.0


def test_the_order_of_the_batch_does_not_matter():
    query, candidates, positive, valid, weights, g = data(7)
    rows, extras = torch.randperm(6, generator=g), torch.arange(6, 11)
    columns = torch.cat([rows, extras.flip(0)])
    loss = InfoNCE(temperature=0.1, symmetric=True)
    moved = contrast(
        loss,
        query[rows],
        candidates[columns],
        positive=positive[rows][:, columns],
        valid=valid[rows][:, columns],
        weights=weights[rows],
    )
    here = contrast(loss, query, candidates, positive=positive, valid=valid, weights=weights)
    assert torch.allclose(moved, here, rtol=1e-5)


def test_lengths_precision_and_extreme_scales():
    query, candidates, *_ = data(8)
    loss = InfoNCE(temperature=0.01)
    assert torch.allclose(
        contrast(loss, query * 30, candidates * 0.1), contrast(loss, query, candidates), rtol=1e-4
    )
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(contrast(loss, query, candidates), contrast(loss, query, candidates))
        inside = contrast(loss, query, candidates)
    assert torch.equal(inside, contrast(loss, query, candidates))
    assert math.isfinite(contrast(InfoNCE(), query, candidates, scale=1e6))


def test_the_scale_learns():
    query, candidates, *_ = data(9)
    scale = torch.tensor(2.0, requires_grad=True)
    contrast(InfoNCE(), query, candidates, scale=scale.exp()).backward()
    assert scale.grad is not None and scale.grad != 0


def test_bad_input_is_named():
    query, candidates, positive, *_ = data(0)
    with pytest.raises(ValueError, match="C >= B"):
        contrast(InfoNCE(temperature=1.0), query, candidates[:3])
    for name in ("positive", "valid", "soft_targets"):
        with pytest.raises(ValueError, match=rf"{name} must be \(B, C\) = \(6, 11\)"):
            contrast(InfoNCE(temperature=1.0), query, candidates, **{name: positive[:, :4]})
    with pytest.raises(ValueError, match="temperature"):
        InfoNCE(temperature=0.0)
    with pytest.raises(ValueError, match="multi"):
        InfoNCE(multi="max")
    found = spaces(resolve({"loss": "info_nce"}))
    assert [key for key in found if key.startswith("loss.")] == ["loss.temperature"]
