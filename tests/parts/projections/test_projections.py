"""What every registered projection keeps to, and the fits of ours against scipy and least squares."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import normalize

from clplat import registry
from clplat.config.resolve import resolve, spaces
from clplat.config.space import Choice
from clplat.errors import UserError
from clplat.parts.projections._base import Projection
from clplat.parts.projections.linear import Linear
from clplat.parts.projections.procrustes import Procrustes
from clplat.parts.projections.ridge import Ridge

every_projection = pytest.mark.parametrize("name", registry.names("projections"))
fitted_projection = pytest.mark.parametrize(
    "name", [n for n in registry.names("projections") if n != "identity"]
)


def pairs(count=60, new_width=12, old_width=12, noise=0.05, seed=0):
    """Unit rows; the old space is a rotation of the new one, plus noise."""
    g = torch.Generator().manual_seed(seed)
    rotation = torch.linalg.qr(
        torch.randn(max(new_width, old_width), max(new_width, old_width), generator=g)
    )[0]
    new = normalize(torch.randn(count, new_width, generator=g), dim=1)
    old = new @ rotation[:new_width, :old_width] + noise * torch.randn(count, old_width, generator=g)
    return new, normalize(old, dim=1)


def make(name):
    """The projection with its defaults, its training shortened where it has one."""
    part = registry.load("projections", name)
    short = {"steps": 60, "lr": 5e-3} if name == "linear" else {}
    return part(**short)


@every_projection
def test_maps_to_unit_rows_of_the_old_space(name):
    projection, (new, old) = make(name), pairs()
    assert isinstance(projection, Projection)
    projection.fit(new, old)
    for x in (new, 5.0 * new, new[:1], new.half()):
        y = projection(x)
        assert y.shape == (len(x), 12)
        assert torch.allclose(y.float().norm(dim=1), torch.ones(len(x)), atol=1e-3)


@every_projection
def test_same_pairs_same_projection_and_the_input_is_left_alone(name):
    new, old = pairs()
    before = new.clone(), old.clone()
    state = torch.random.get_rng_state()
    first, second = make(name), make(name)
    first.fit(new, old)
    second.fit(*pairs(seed=9))
    second.fit(new, old)  # a second fit forgets the first one
    assert torch.equal(first(new), second(new))
    assert torch.equal(new, before[0]) and torch.equal(old, before[1])
    assert torch.equal(torch.random.get_rng_state(), state)


@every_projection
def test_has_nothing_to_train(name):
    projection = make(name)
    projection.fit(*pairs())
    assert list(projection.parameters()) == []


@every_projection
def test_a_fresh_instance_takes_over_the_state(name):
    new, old = pairs()
    projection, parent = make(name), torch.nn.ModuleDict({"projection": make(name)})
    projection.fit(new, old)
    fresh = make(name)
    fresh.load_state_dict(projection.state_dict())
    parent.load_state_dict({f"projection.{key}": value for key, value in projection.state_dict().items()})
    refitted = make(name)
    refitted.fit(*pairs(new_width=5, old_width=5))
    refitted.load_state_dict(projection.state_dict())
    for twin in (fresh, parent["projection"], refitted, copy.deepcopy(projection)):
        assert torch.equal(twin(new), projection(new))
    make(name).load_state_dict(make(name).state_dict())  # unfitted to unfitted
    copied = copy.deepcopy(make(name))
    copied.load_state_dict(projection.state_dict())
    assert torch.equal(copied(new), projection(new))


@every_projection
def test_fits_wherever_an_evaluator_calls_it(name):
    new, old = pairs()
    plain, inferred = make(name), make(name)
    plain.fit(new, old)
    with torch.inference_mode():
        inferred.fit(new.clone(), old.clone())
    assert torch.equal(plain(new), inferred(new))
    inferred.load_state_dict(plain.state_dict())  # its buffers are no inference tensors
    tracked = make(name)
    tracked.fit(new.clone().requires_grad_(), old)
    assert torch.equal(plain(new), tracked(new).detach())
    assert all(not buffer.requires_grad for buffer in tracked.buffers())


@fitted_projection
@pytest.mark.parametrize("new_width, old_width", [(12, 8), (8, 12)])
def test_widths_may_differ(name, new_width, old_width):
    new, old = pairs(200, new_width, old_width)
    projection = make(name)
    projection.fit(new, old)
    assert projection(new).shape == (200, old_width)
    assert (projection(new) * old).sum(1).mean() > 0.7
    with pytest.raises(UserError, match=f"width {new_width}, not {new_width + 1}"):
        projection(torch.ones(1, new_width + 1))


@every_projection
@pytest.mark.parametrize("count", [1, 5])
def test_few_pairs_do_not_crash_and_leave_the_rest_alone(name, count):
    new, _ = pairs(count)
    projection = make(name)
    projection.fit(new, new)  # the pairs say: nothing changed
    other, _ = pairs(50, seed=5)
    assert (projection(other) * other).sum(1).min() > 0.9


@fitted_projection
def test_new_queries_find_their_targets_in_the_old_index(name):
    """The point of a projection; fitted on other pictures than the index holds."""
    new, old = pairs(400, noise=0.02)
    projection = make(name)
    projection.fit(new[:200], old[:200])
    index, queries = old[200:], new[200:]

    def recall(q):
        return ((q @ index.T).argmax(1) == torch.arange(200)).float().mean()

    assert recall(queries) < 0.1 and recall(projection(queries)) > 0.95


@fitted_projection
def test_before_the_fit_it_says_so(name):
    with pytest.raises(UserError, match=f"{name} projection is not fitted yet"):
        make(name)(torch.ones(2, 4))


@every_projection
def test_bad_pairs_are_named(name):
    new, old = pairs()
    broken = new.clone()
    broken[7, 1] = float("nan")
    for x, y, message in (
        (new, old[:-1], "needs pairs"),
        (new[0], old[0], "needs pairs"),
        (new[:0], old[:0], "at least one pair"),
        (broken, old, "row 7 of the new embeddings is NaN"),
        (new, broken / 0, "of the old embeddings is NaN"),
    ):
        with pytest.raises(UserError, match=message):
            make(name).fit(x, y)


@every_projection
def test_the_search_space_can_be_built(name):
    part = registry.load("projections", name)
    for key, space in spaces(resolve({"projection": name})).items():
        slot, _, argument = key.partition(".")
        for value in space.values if isinstance(space, Choice) else (space.low, space.high):
            if slot == "projection":
                part(**{argument: value})


def test_identity_needs_one_width():
    with pytest.raises(UserError, match="cannot map width 12 to 8"):
        make("identity").fit(*pairs(old_width=8))


def test_procrustes_equals_scipy():
    linalg = pytest.importorskip("scipy.linalg")
    new, old = pairs(noise=0.5)
    projection = Procrustes()
    projection.fit(new, old)
    expected, _ = linalg.orthogonal_procrustes(new.double().numpy(), old.double().numpy())
    assert torch.allclose(projection.matrix.double(), torch.from_numpy(expected), atol=1e-6)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 30))
def test_procrustes_is_orthogonal_and_best_among_its_neighbours(seed, count):
    new, old = pairs(count, noise=0.3, seed=seed)
    projection = Procrustes()
    projection.fit(new, old)
    r = projection.matrix.double()
    assert torch.allclose(r.T @ r, torch.eye(12).double(), atol=1e-5)
    spin = torch.randn(12, 12, generator=torch.Generator().manual_seed(seed)).double()
    other = r @ torch.linalg.matrix_exp(0.05 * (spin - spin.T))
    new, old = new.double(), old.double()
    assert (new @ r - old).norm() <= (new @ other - old).norm() + 1e-5


def test_procrustes_recovers_a_rotation_and_keeps_similarities():
    new, old = pairs(noise=0.0)
    projection = Procrustes()
    projection.fit(new, old)
    assert torch.allclose(projection(new), old, atol=1e-5)
    assert torch.allclose(projection(new) @ projection(new).T, new @ new.T, atol=1e-5)


def test_procrustes_keeps_the_identity_outside_the_pairs():
    """Three pairs in a plane: the rotation acts in that plane only."""
    new = torch.zeros(3, 6)
    new[:, :2] = normalize(torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]), dim=1)
    old = torch.zeros(3, 6)
    old[:, 0], old[:, 1] = -new[:, 1], new[:, 0]
    projection = Procrustes()
    projection.fit(new, old)
    expected = torch.eye(6)
    expected[:2, :2] = torch.tensor([[0.0, 1.0], [-1.0, 0.0]])
    assert torch.allclose(projection.matrix, expected, atol=1e-5)
    projection.fit(torch.zeros(1, 6), torch.zeros(1, 6))
    assert torch.allclose(projection.matrix, torch.eye(6), atol=1e-6)


@pytest.mark.parametrize("toward", ["zero", "identity"])
@pytest.mark.parametrize("count", [5, 60])
def test_ridge_equals_least_squares_with_penalty_rows(toward, count):
    new, old = (rows.double() for rows in pairs(count, noise=0.3))
    projection = Ridge(alpha=0.7, toward=toward)
    projection.fit(new, old)
    start = torch.eye(12).double() if toward == "identity" else torch.zeros(12, 12).double()
    lam = 0.7 * count / 12
    penalty = lam**0.5 * torch.eye(12).double()
    expected = torch.linalg.lstsq(torch.cat([new, penalty]), torch.cat([old, penalty @ start])).solution
    assert torch.allclose(projection.matrix.double(), expected, atol=1e-6)


def test_ridge_strength_does_not_depend_on_the_number_of_pairs():
    new, old = pairs(noise=0.3)
    once, twice = Ridge(0.5), Ridge(0.5)
    once.fit(new, old)
    twice.fit(new.repeat(2, 1), old.repeat(2, 1))
    assert torch.allclose(once.matrix, twice.matrix, atol=1e-6)


def test_linear_improves_on_its_start_and_follows_its_seed():
    new, old = pairs(300, noise=0.2)
    old = normalize(old * torch.linspace(0.2, 2.0, 12), dim=1)  # no rotation does this
    start, trained, again, other = (
        Procrustes(),
        *(Linear(150, lr=5e-3, batch_size=32, seed=s) for s in (1, 1, 2)),
    )
    for projection in (start, trained, again, other):
        projection.fit(new, old)
    assert (trained(new) * old).sum(1).mean() > (start(new) * old).sum(1).mean() + 0.01
    assert torch.equal(trained.matrix, again.matrix)
    assert not torch.equal(trained.matrix, other.matrix)
    untrained = Linear(steps=0)
    untrained.fit(new, old)
    assert torch.allclose(untrained.matrix, start.matrix)


def test_bad_settings_are_named():
    for part, options in (
        (Ridge, {"alpha": 0.0}),
        (Ridge, {"toward": "one"}),
        (Linear, {"start": "random"}),
        (Linear, {"temperature": 0.0}),
        (Linear, {"batch_size": 0}),
    ):
        with pytest.raises(ValueError, match=next(iter(options))):
            part(**options)
    with pytest.raises(UserError, match="all new embeddings are zero"):
        Ridge().fit(torch.zeros(3, 4), torch.ones(3, 4))
