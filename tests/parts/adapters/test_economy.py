"""What is kept of decompositions: beside whole ones in float64, in files, and of orders that were drawn."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from torch import Tensor, nn

from clplat.models.backbone import Backbone
from clplat.parts.adapters import _economy as under_test
from clplat.parts.adapters import peft
from clplat.parts.adapters._economy import economy, leading, least
from clplat.parts.adapters.peft import adapter_class, load_adapter
from clplat.randomness import generator, seeded

SHAPES = [(60, 60), (90, 40), (40, 90)]


def matrix(shape: tuple[int, int], values: Tensor) -> Tensor:
    """One with these singular values, and random directions."""
    draw = generator(0, "a matrix", *shape)
    left, right = (torch.linalg.qr(torch.randn(n, len(values), generator=draw).double()).Q for n in shape)
    return ((left * values.double()) @ right.T).float()


def steep(shape: tuple[int, int]) -> Tensor:
    return matrix(shape, torch.logspace(1, -1, min(shape)))


@pytest.fixture
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """The layers of the small model count as wide."""
    monkeypatch.setattr(under_test, "SMALL", 8)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_ends_of_a_falling_spectrum_are_those_of_the_whole_decomposition(shape: tuple[int, int]) -> None:
    weight = steep(shape)
    whole = torch.linalg.svd(weight.double(), full_matrices=False)
    for found, rows in ((leading(weight, 3), slice(0, 3)), (least(weight, 3), slice(-3, None))):
        left, values, right = found
        assert torch.allclose(values.double(), whole.S[rows], rtol=1e-3)
        product = (whole.U[:, rows] * whole.S[rows]) @ whole.Vh[rows]
        off = torch.linalg.matrix_norm((left * values).double() @ right.double() - product)
        assert off <= 0.02 * whole.S[rows].norm()
        for directions in (left.T, right):
            assert torch.allclose(directions @ directions.T, torch.eye(3), atol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_directions_of_a_flat_spectrum_have_nearly_its_ends(shape: tuple[int, int]) -> None:
    weight = torch.randn(shape, generator=generator(1, "numbers"))
    values = torch.linalg.svdvals(weight)
    assert leading(weight, 4)[1].square().sum() >= 0.95 * values[:4].square().sum()
    assert least(weight, 4)[1].square().sum() <= 1.05 * values[-4:].square().sum() + 1e-6


@pytest.mark.parametrize("shape", SHAPES)
def test_a_weight_that_cannot_be_inverted_is_decomposed_whole(shape: tuple[int, int]) -> None:
    weight = matrix(shape, torch.cat([torch.ones(min(shape) - 2), torch.tensor([1e-5, 0.0])]))
    _, values, right = least(weight, 2)
    assert values.max() <= 2e-5 and float((weight @ right.T).norm()) <= 3e-5


def test_one_weight_has_one_decomposition() -> None:
    weight = steep((60, 60))
    torch.manual_seed(1)
    state, one = torch.get_rng_state(), leading(weight, 3)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    assert all(torch.equal(a, b) for a, b in zip(one, leading(weight, 3), strict=True))


def test_the_first_columns_give_the_first_rows_of_the_whole_qr(wide: None) -> None:
    weight = steep((60, 60))
    whole = torch.linalg.qr(weight)
    with economy("first columns", 2):
        q, r = torch.linalg.qr(weight)
    assert q.shape == (60, 2) and torch.allclose(q, whole.Q[:, :2], atol=1e-5)
    assert torch.allclose(r, whole.R[:2], atol=1e-4)


def test_an_order_that_was_drawn_is_the_one_that_torch_draws() -> None:
    def drawn() -> list[Tensor]:
        made = []
        for seed in (3, 3, 4):
            draw = torch.Generator().manual_seed(seed)
            made += [torch.randperm(50, generator=draw), torch.randperm(50, generator=draw)]
        return made

    alone = drawn()
    with economy(None, 0):
        assert all(torch.equal(a, b) for a, b in zip(drawn(), alone, strict=True))


@pytest.mark.parametrize("method", ["pissa", "olora", "mica", "kasa", "tinylora"])
def test_wide_layers_are_saved_and_loaded(
    backbone: Backbone, method: str, tmp_path: Path, wide: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.parts.adapters.test_peft import distance, outputs, train

    fresh, plain, before = copy.deepcopy(backbone), copy.deepcopy(backbone), outputs(backbone)
    adapter = adapter_class(method)(r=2, targets="mlp")
    with seeded(0, "attach"):
        names = adapter.attach(backbone)
    assert (distance(outputs(backbone), before) <= 1e-6) == adapter.identity_at_init
    train(backbone, adapter, names)
    trained = outputs(backbone)
    adapter.save(backbone, tmp_path)
    loaded = load_adapter(fresh, tmp_path)
    assert loaded.options == adapter.options and distance(outputs(fresh), trained) <= 1e-6
    again = tmp_path / "again"
    loaded.save(fresh, again)
    assert (again / "adapter_config.json").read_text() == (tmp_path / "adapter_config.json").read_text()
    if method != "kasa":  # PEFT takes all of the least directions out, to rounding
        monkeypatch.undo()
        PeftModel.from_pretrained(plain.model, str(tmp_path))
        assert distance(outputs(plain), trained) <= 2e-6, "PEFT reads what we wrote"


def test_a_folder_of_a_whole_decomposition_is_read_by_one(
    backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.parts.adapters.test_peft import distance, outputs, train

    fresh = copy.deepcopy(backbone)
    adapter = peft.PiSSA(r=2, targets="mlp")
    train(backbone, adapter, adapter.attach(backbone))
    adapter.save(backbone, tmp_path)
    monkeypatch.setattr(under_test, "SMALL", 8)
    load_adapter(fresh, tmp_path)
    assert distance(outputs(fresh), outputs(backbone)) <= 1e-6


def test_kasa_takes_out_the_least_directions_alone(wide: None) -> None:
    from peft.tuners.lora.variants import KasaLinearVariant

    layer = nn.Linear(40, 60)
    weight = layer.weight.data.clone()
    before = KasaLinearVariant._truncate_base_weight
    with economy("least", 2):
        holder = nn.Module()
        holder.get_base_layer = lambda: layer  # type: ignore[assignment]
        left, right = KasaLinearVariant._truncate_base_weight(holder, 2)
    assert KasaLinearVariant._truncate_base_weight is before
    assert torch.allclose(layer.weight.detach() + left @ right, weight, atol=1e-6)
    assert float((layer.weight.detach() @ right.T).abs().max()) <= 1e-6 and right.shape == (2, 40)


def test_permutations_are_pefts() -> None:
    from peft.tuners.boft.layer import BOFTLayer

    order = torch.randperm(12, generator=generator(0, "order"))
    layer: BOFTLayer = BOFTLayer.__new__(BOFTLayer)
    alone = BOFTLayer.perm2mat(layer, order)
    with economy(None, 0):
        assert torch.equal(BOFTLayer.perm2mat(layer, order), alone)
