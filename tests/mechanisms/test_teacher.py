"""A teacher is swapped in and out without a trace, and gives exactly what the earlier model gave."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from clplat.cache.engine import FeatureCache
from clplat.cache.store import Store
from clplat.errors import UserError
from clplat.mechanisms.teacher import Teacher, snapshot
from clplat.parts.adapters.full import Full
from clplat.randomness import seeded
from clplat.testing import tiny_collate, tiny_domains, tiny_retriever
from clplat.testing.checks import difference, weights


def network(normalised: bool = False) -> nn.Sequential:
    with seeded(0, "network"):
        norm: nn.Module = nn.BatchNorm1d(6) if normalised else nn.LayerNorm(6)
        model = nn.Sequential(nn.Linear(4, 6), norm, nn.GELU(), nn.Dropout(0.5), nn.Linear(6, 3))
    model[0].requires_grad_(False)
    return model


def data() -> Tensor:
    return torch.randn(5, 4, generator=torch.Generator().manual_seed(1))


def move(model: nn.Module) -> None:
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.3).mul_(1.1)


def test_it_gives_what_the_earlier_model_gave_and_leaves_no_trace() -> None:
    model = network().train()
    model[1].eval()
    earlier, teacher = copy.deepcopy(model).eval(), Teacher(snapshot(model))
    move(model)
    before, modes = weights(model), [module.training for module in model.modules()]
    identities = {name: (id(p), p.data_ptr()) for name, p in model.named_parameters()}
    with teacher.active(model):
        old = model(data())
        assert not any(module.training for module in model.modules()), "dropout is off"
    assert torch.equal(old, earlier(data())) and not old.requires_grad
    assert not difference(weights(model), before)
    assert [module.training for module in model.modules()] == modes
    assert {name: (id(p), p.data_ptr()) for name, p in model.named_parameters()} == identities


def test_it_costs_only_what_was_trained() -> None:
    model = network()
    assert snapshot(model).keys() == {"1.weight", "1.bias", "4.weight", "4.bias"}
    held = snapshot(model)["4.weight"]
    move(model)
    assert not torch.equal(held, model[4].weight), "a snapshot is a copy"


def test_a_graph_made_before_the_swap_gives_the_right_gradients() -> None:
    model, alone = network().eval(), network().eval()
    teacher = Teacher({name: torch.full_like(value, 9.0) for name, value in snapshot(model).items()})
    expected = torch.autograd.grad(
        alone(data()).square().sum(), [p for p in alone.parameters() if p.requires_grad]
    )
    loss = model(data()).square().sum()
    with teacher.active(model):
        model(data())
    loss.backward()
    found = [p.grad for p in model.parameters() if p.requires_grad]
    assert all(g is not None and torch.equal(g, e) for g, e in zip(found, expected, strict=True))


def test_an_optimizer_steps_the_same_weights_as_without_a_teacher() -> None:
    results = []
    for use in (False, True):
        model = network().eval()
        teacher, optimizer = Teacher(snapshot(model)), torch.optim.Adam(model.parameters(), lr=0.1)
        for _ in range(3):
            optimizer.zero_grad()
            loss = model(data()).square().sum()
            if use:
                with teacher.active(model):
                    model(data())
            loss.backward()
            optimizer.step()
        results.append(weights(model))
    assert not difference(*results)


def test_an_error_inside_restores_too() -> None:
    model = network().train()
    before = weights(model)
    with pytest.raises(RuntimeError, match="in the middle"), Teacher(snapshot(network())).active(model):
        move(model)
        raise RuntimeError("in the middle")
    assert not difference(weights(model), before) and all(module.training for module in model.modules())


def test_a_model_that_has_grown_since_keeps_its_new_tensors() -> None:
    model = network().eval()
    teacher, old = Teacher(snapshot(model)), model(data())
    move(model)
    model.append(nn.Linear(3, 3))
    with torch.no_grad():
        model[5].weight.copy_(torch.eye(3))
        model[5].bias.zero_()
    with teacher.active(model):
        assert torch.allclose(model(data()), old, atol=1e-6)


def test_moving_statistics_are_the_earlier_ones() -> None:
    model = network(normalised=True).train()
    model(data())
    earlier, teacher = copy.deepcopy(model).eval(), Teacher(snapshot(model, statistics=True))
    model(5 + data())
    with teacher.active(model):
        assert torch.equal(model(data()), earlier(data()))


def test_what_becomes_trainable_later_is_pinned() -> None:
    model = network().eval()
    teacher, old = Teacher(), model(data()).detach()
    teacher.update(model)
    model[0].requires_grad_(True)
    with teacher.active(model):
        model(data())
    move(model)
    with teacher.active(model):
        assert torch.equal(model(data()), old)
    assert teacher.state_dict()["tensors"].keys() >= {"0.weight", "0.bias"}, "and survives an interruption"


def test_what_changed_before_it_was_seen_is_refused() -> None:
    model, teacher = network().eval(), Teacher()
    teacher.update(model)
    model[0].requires_grad_(True)
    move(model)
    with pytest.raises(UserError, match=r"'0\.weight' changed after the teacher was taken"):
        teacher.active(model).__enter__()


def test_a_frozen_weight_that_another_part_rewrites_is_refused() -> None:
    model, teacher = network().eval(), Teacher()
    teacher.update(model)
    with torch.no_grad():
        model[0].weight.mul_(2)  # as a merged adapter does
    with pytest.raises(UserError, match=r"'0\.weight' changed"):
        teacher.active(model).__enter__()
    teacher.update(model)
    with teacher.active(model):
        model(data())


def test_a_model_that_lost_a_layer_is_refused() -> None:
    model, teacher = network().eval(), Teacher()
    teacher.update(model)
    model[4] = nn.Identity()
    with pytest.raises(UserError, match=r"holds '4\.weight', which the model does not have"):
        teacher.active(model).__enter__()


def test_an_earlier_head_keeps_its_size() -> None:
    model, teacher = network().eval(), Teacher()
    old = model(data())
    teacher.update(model)
    model[4] = nn.Linear(6, 7)
    with teacher.active(model):
        assert torch.equal(model(data()), old)
    assert model(data()).shape == (5, 7)


@pytest.mark.parametrize("exchanged", [True, False])
def test_nothing_of_a_teacher_that_moves_is_kept(exchanged: bool) -> None:
    model, teacher = tiny_retriever(Full(last=1)), Teacher()
    model.cache = cache = FeatureCache(model.backbone, Store(None))
    every = tiny_collate()(tiny_domains()[0].train)
    batch = tiny_collate()(tiny_domains()[0].train[:4])
    model.train()
    teacher.update(model)
    model.prepare(every.pictures, every.texts)
    with teacher.active(model):
        model(batch)
    settled = cache.counts["image"].encoded
    for _ in range(3):
        for name, tensor in teacher.tensors.items():
            if exchanged:
                teacher.tensors[name] = 0.9 * tensor
            elif tensor.is_floating_point():
                tensor.mul_(0.9)
        with teacher.active(model):
            model(batch)
    assert cache.counts["image"].encoded == settled, "each step encodes the whole experience anew"
    teacher.update(model)
    with teacher.active(model):
        model(batch)
    assert not teacher.moves, "taken anew, it stays"


def test_momentum_and_average_are_what_their_formulas_say() -> None:
    momentum, average = Teacher(which="momentum", decay=0.8), Teacher(which="average", every=2)
    model = network(normalised=True).train()
    momentum.update(model)
    average.update(model)
    seen = [weights(model)]
    for i in range(6):
        model(i + data())
        move(model)
        momentum.follow(model)
        average.follow(model)
        seen.append(weights(model))
    names = ("1.weight", "4.bias", "1.running_mean")
    for name in names:
        slow = seen[0][name].double()
        for one in seen[1:]:
            slow = 0.8 * slow + 0.2 * one[name].double()
        assert torch.allclose(momentum.tensors[name].double(), slow, rtol=1e-5), name
        mean = torch.stack([one[name].double() for one in seen[::2]]).mean(0)
        assert torch.allclose(average.tensors[name].double(), mean, rtol=1e-5), name
    assert momentum.tensors["1.num_batches_tracked"] == 6
    assert momentum.moves and average.moves and momentum.bytes() == average.bytes() > 0


def test_a_moving_teacher_goes_on_where_it_stood() -> None:
    model, whole, cut = (
        network().train(),
        Teacher(which="average", every=2),
        Teacher(which="average", every=2),
    )
    for teacher in (whole, cut):
        teacher.update(model)
        move(model)
        teacher.follow(model)
    resumed = Teacher(which="average", every=2)
    resumed.load_state_dict(copy.deepcopy(cut.state_dict()))
    move(model)
    for teacher in (cut, resumed):
        teacher.follow(model)
    assert not difference(resumed.state_dict(), cut.state_dict()) and resumed.moves
