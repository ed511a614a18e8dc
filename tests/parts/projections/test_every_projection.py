"""What every registered projection keeps to, beside its contract."""

from __future__ import annotations

import copy
import inspect

import pytest
import torch

from clplat import registry
from clplat.config.resolve import resolve, spaces
from clplat.config.space import Choice
from clplat.errors import UserError
from clplat.parts.projections._base import Projection

every_projection = pytest.mark.parametrize("name", registry.names("projections"))


FITTED = [n for n in registry.names("projections") if registry.load("projections", n).fitted]
fitted_projection = pytest.mark.parametrize("name", FITTED)
#: Those that undo a rotation, between spaces of any widths.
turning_projection = pytest.mark.parametrize(
    "name", [n for n in FITTED if registry.load("projections", n).undoes == "rotation"]
)


def make(name):
    """The projection with its defaults, its training shortened where it has one."""
    part = registry.load("projections", name)
    short = {"steps": 60, "lr": 5e-3}
    return part(**{key: short[key] for key in short if key in inspect.signature(part).parameters})


def ways(projection, new, old):
    """What it maps, and where to."""
    return (new, old) if projection.maps == "query" else (old, new)


@every_projection
def test_maps_to_unit_rows_of_the_old_space(pairs, name):
    projection, (new, old) = make(name), pairs()
    assert isinstance(projection, Projection)
    projection.fit(new, old)
    for x in (new, 5.0 * new, new[:1], new.half()):
        y = projection(x)
        assert y.shape == (len(x), 12)
        assert torch.allclose(y.float().norm(dim=1), torch.ones(len(x)), atol=1e-3)


@every_projection
def test_same_pairs_same_projection_and_the_input_is_left_alone(pairs, name):
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
def test_has_nothing_to_train(pairs, name):
    projection = make(name)
    projection.fit(*pairs())
    assert list(projection.parameters()) == []


@every_projection
def test_a_fresh_instance_takes_over_the_state(pairs, name):
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
def test_fits_wherever_an_evaluator_calls_it(pairs, name):
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


@turning_projection
@pytest.mark.parametrize("new_width, old_width", [(12, 8), (8, 12)])
def test_widths_may_differ(pairs, name, new_width, old_width):
    new, old = pairs(200, new_width, old_width)
    projection = make(name)
    projection.fit(new, old)
    source, goal = ways(projection, new, old)
    width = source.shape[1]
    assert projection(source).shape == goal.shape
    assert (projection(source) * goal).sum(1).mean() > 0.7
    with pytest.raises(UserError, match=f"width {width}, not {width + 1}"):
        projection(torch.ones(1, width + 1))


@every_projection
@pytest.mark.parametrize("count", [1, 5])
def test_few_pairs_do_not_crash_and_leave_the_rest_alone(pairs, name, count):
    new, _ = pairs(count)
    projection = make(name)
    projection.fit(new, new)  # the pairs say: nothing changed
    other, _ = pairs(50, seed=5)
    assert (projection(other) * other).sum(1).min() > 0.9


@turning_projection
def test_new_queries_find_their_targets_in_the_old_index(pairs, name):
    """The point of a projection; fitted on other pictures than the index holds."""
    new, old = pairs(400, noise=0.02)
    projection = make(name)
    projection.fit(new[:200], old[:200])
    queries, index = (rows[200:] for rows in ways(projection, new, old))

    def recall(q):
        return ((q @ index.T).argmax(1) == torch.arange(200)).float().mean()

    assert recall(queries) < 0.1 and recall(projection(queries)) > 0.95


@fitted_projection
def test_before_the_fit_it_says_so(name):
    with pytest.raises(UserError, match=f"{name} projection is not fitted yet"):
        make(name)(torch.ones(2, 4))


@every_projection
def test_bad_pairs_are_named(pairs, name):
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
