"""Every row of the adapter table, against the same contract; then what users can do wrong."""

from __future__ import annotations

import copy
import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from torch import Tensor
from torch.nn import functional as F

from clplat.config.resolve import resolve as resolve_config
from clplat.config.resolve import spaces
from clplat.errors import UserError
from clplat.models.backbone import Backbone
from clplat.parts.adapters import peft
from clplat.parts.adapters._base import Adapter
from clplat.parts.adapters._targets import resolve
from clplat.parts.adapters.peft import METHODS, UNSUITABLE, adapter_class, load_adapter

TEXTS = ["a red shoe", "is blue and long", "dog", "cat on a mat"]


def embed(backbone: Backbone) -> tuple[Tensor, Tensor]:
    pixels = torch.randn(4, 3, 24, 24, generator=torch.Generator().manual_seed(0))
    pixels = pixels.to(backbone.model.visual.proj.dtype)
    images = F.normalize(backbone.image(pixels).pooled, dim=-1)
    return images, F.normalize(backbone.text(backbone.tokenize(TEXTS)).pooled, dim=-1)


def outputs(backbone: Backbone) -> Tensor:
    with torch.no_grad():
        return torch.cat(embed(backbone.eval()))


def distance(one: Tensor, two: Tensor) -> float:
    return float((one - two).abs().max())


def without_effect(adapter: Adapter, name: str) -> bool:
    return any(re.search(pattern, name) for pattern in adapter.without_effect)


def train(backbone: Backbone, adapter: Adapter, names: list[str], steps: int = 2) -> None:
    """A few steps of Adam; after the first, every trained tensor that has an effect must have a gradient."""
    parameters = [backbone.get_parameter(name) for name in names]
    optimizer = torch.optim.Adam(parameters, lr=1e-2)
    backbone.train()
    for _ in range(steps):
        images, texts = embed(backbone)
        optimizer.zero_grad()
        F.cross_entropy(20 * images @ texts.T, torch.arange(4)).backward()
        assert [name for name, p in zip(names, parameters, strict=True) if p.grad is None] == []
        optimizer.step()
    felt = {name: p for name, p in zip(names, parameters, strict=True) if not without_effect(adapter, name)}
    assert all(bool(parameter.grad.abs().sum() > 0) for parameter in felt.values()), "a tensor is dead"


def first_of_each_kind() -> list[Any]:
    """All methods; those whose kind came before are slow: the contract asks nearly the same of each."""
    marked, kinds = [], set()
    for name, row in METHODS.items():
        kind = (row.rewrites_base, row.tolerance > 0, row.mergeable, row.targets)
        marked.append(pytest.param(name, marks=[pytest.mark.slow] if kind in kinds else []))
        kinds.add(kind)
    return marked


@pytest.mark.parametrize("method", first_of_each_kind())
def test_an_adapter_starts_as_the_identity_and_trains_only_itself(backbone: Backbone, method: str) -> None:
    before, base = outputs(backbone), {k: v.clone() for k, v in backbone.stock_state_dict().items()}
    fingerprint = backbone.fingerprint()
    cls = adapter_class(method)
    torch.manual_seed(0)
    adapter = cls()
    names = adapter.attach(backbone)

    trainable = [name for name, parameter in backbone.named_parameters() if parameter.requires_grad]
    assert sorted(names) == sorted(trainable) and names
    assert distance(outputs(backbone), before) <= max(cls.tolerance, 1e-6)
    assert cls.identity_at_init == (cls.tolerance == 0)
    attached = {k: v.clone() for k, v in backbone.stock_state_dict().items()}
    assert cls.rewrites_base != all(torch.equal(attached[k], base[k]) for k in base)

    train(backbone, adapter, names)
    trained = outputs(backbone)
    assert distance(trained, before) > 1e-6
    assert all(torch.equal(v, attached[k]) for k, v in backbone.stock_state_dict().items())
    assert backbone.fingerprint() != fingerprint
    assert torch.equal(outputs(copy.deepcopy(backbone)), trained), "teachers are deep copies"

    if cls.rewrites_base:
        with pytest.raises(UserError, match="no bare base"):
            adapter.activate(backbone, None)
        with pytest.raises(UserError, match="rewrote the base"):
            adapter.attach(backbone, "second")
        return
    for name in names[::2]:
        backbone.get_parameter(name).requires_grad_(False)
    adapter.activate(backbone, None)
    assert torch.equal(outputs(backbone), before) and backbone.fingerprint() == fingerprint
    adapter.activate(backbone, "default")
    assert torch.equal(outputs(backbone), trained)
    assert {n for n, p in backbone.named_parameters() if p.requires_grad} == set(names[1::2])


@pytest.mark.parametrize("method", METHODS)
def test_an_adapter_is_saved_loaded_and_merged(backbone: Backbone, method: str, tmp_path: Path) -> None:
    fresh, plain = copy.deepcopy(backbone), copy.deepcopy(backbone)
    names = set(backbone.model.state_dict())
    torch.manual_seed(0)
    adapter = adapter_class(method)()
    train(backbone, adapter, adapter.attach(backbone))
    trained = outputs(backbone)

    adapter.save(backbone, tmp_path)
    state = torch.get_rng_state()
    loaded = load_adapter(fresh, tmp_path, "again")
    assert torch.equal(torch.get_rng_state(), state)
    assert loaded.options == adapter.options and fresh.adapters.active == "again"
    assert distance(outputs(fresh), trained) <= 1e-6
    with pytest.raises(UserError, match="merge one first"):
        backbone.save(tmp_path / "folder")
    PeftModel.from_pretrained(plain.model, str(tmp_path))
    assert distance(outputs(plain), trained) <= 1e-6, "PEFT reads what we wrote"

    if not METHODS[method].mergeable:
        with pytest.raises(UserError, match="cannot be merged"):
            adapter.merge(backbone)
        return
    adapter.merge(backbone)
    assert distance(outputs(backbone), trained) <= 2e-6
    assert set(backbone.model.state_dict()) == names and not backbone.adapters.installed
    assert not any(parameter.requires_grad for parameter in backbone.parameters())
    with pytest.raises(UserError, match="other base weights"):
        load_adapter(backbone, tmp_path)
    adapter.attach(backbone)  # the next domain starts from the merged weights


@pytest.mark.parametrize("method", METHODS)
def test_the_constructor_is_the_configuration(method: str) -> None:
    cls = adapter_class(method)
    assert getattr(peft, cls.__name__) is cls and cls.__name__ == METHODS[method].name
    signature = inspect.signature(cls)
    assert list(signature.parameters)[:3] == ["targets", "towers", "last"]
    assert all(option.annotation is not inspect.Parameter.empty for option in signature.parameters.values())
    lines = inspect.getdoc(cls).splitlines()
    assert METHODS[method].paper in lines[0]
    assert all(f"    {option}: " in inspect.getdoc(cls) for option in signature.parameters)
    found = [key.partition(".") for key in spaces(resolve_config({"adapter": method}))]
    assert {argument for slot, _, argument in found if slot == "adapter"} <= set(signature.parameters)
    assert method not in UNSUITABLE


def test_options_reach_peft_and_bad_ones_are_refused(backbone: Backbone) -> None:
    adapter = peft.LoRA("mlp", r=2, lora_alpha=6, towers="image", last=1)
    assert repr(adapter) == "LoRA(targets='mlp', towers='image', last=1, r=2, lora_alpha=6)"
    names = adapter.attach(backbone, "domain_1")
    assert names == [
        f"model.visual.transformer.resblocks.1.mlp.{layer}.lora_{part}.domain_1.weight"
        for layer in ("c_fc", "c_proj")
        for part in "AB"
    ]
    assert backbone.get_parameter(names[0]).shape == (2, 48)
    assert str(spaces(resolve_config({"adapter": "lora"}))["adapter.r"]) == "Int(low=2, high=64, log=True)"
    with pytest.raises(TypeError, match="rank"):
        peft.LoRA(rank=3)
    with pytest.raises(ValueError, match="towers is 'left'"):
        peft.LoRA(towers="left")
    with pytest.raises(ValueError, match="divisible"):
        peft.GraLoRA(r=3)
    with pytest.raises(UserError, match="did you mean 'lora'"):
        adapter_class("lorra")
    with pytest.raises(UserError, match="needs a task id"):
        adapter_class("poly")


@pytest.mark.parametrize("towers", ["image", "text"])
def test_one_tower_means_one_tower(backbone: Backbone, towers: str) -> None:
    # PEFT matches ends of names, and the text tower's names are the ends of the image tower's.
    names = peft.LoRA(towers=towers).attach(backbone)
    assert {name.startswith("model.visual.") for name in names} == {towers == "image"}


def test_targets_that_would_be_silently_dead_are_refused(
    backbone: Backbone, random_model: Callable[..., Backbone]
) -> None:
    with pytest.raises(UserError, match="did you mean 'c_fc'"):
        peft.LoRA(targets=["c_fcc"]).attach(backbone)
    with pytest.raises(ValueError, match="allowed: mlp, attention, both"):
        peft.LoRA(targets="atention")
    with pytest.raises(UserError, match="towers have 2 blocks"):
        peft.LoRA(last=3).attach(backbone)
    with pytest.raises(UserError, match="cannot wrap"):
        peft.LoRA(targets=["ln_1"]).attach(backbone)
    resnet = random_model(vision_cfg={"image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "head_width": 16})
    with pytest.raises(UserError, match="never called"):
        peft.LoRA(targets=["attnpool.q_proj"]).attach(resnet)
    with pytest.raises(UserError, match="no 'both' modules in the image tower"):
        peft.LoRA(towers="image").attach(resnet)
    assert not backbone.adapters.installed and set(backbone.model.state_dict()) == backbone.base_keys


def test_a_failed_attach_leaves_nothing_behind(backbone: Backbone) -> None:
    before = outputs(backbone)
    with pytest.raises(UserError, match="C3A cannot wrap"):
        peft.C3A(block_size=48).attach(backbone)  # divides the image tower's width, not the text tower's
    assert set(backbone.model.state_dict()) == backbone.base_keys
    peft.C3A().attach(backbone, "one")
    trainable = {name for name, p in backbone.named_parameters() if p.requires_grad}
    with pytest.raises(UserError, match="C3A cannot wrap"):
        peft.C3A(block_size=48).attach(backbone, "two")
    assert {name for name, p in backbone.named_parameters() if p.requires_grad} == trainable
    assert list(backbone.adapters.installed) == ["one"] and distance(outputs(backbone), before) <= 1e-6


def test_a_failed_attach_gives_the_base_back(backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    from peft.tuners.lora.layer import LoraLayer

    before, calls, pissa = backbone.fingerprint(), [], LoraLayer.pissa_init

    def fail_at_the_third(self: LoraLayer, *args: object) -> None:
        calls.append(1)
        if len(calls) == 3:
            raise RuntimeError("linalg.svd did not converge")
        pissa(self, *args)

    monkeypatch.setattr(LoraLayer, "pissa_init", fail_at_the_third)
    with pytest.raises(UserError, match="did not converge"):
        peft.PiSSA().attach(backbone)
    assert backbone.fingerprint() == before and backbone.adapters.rewritten_by is None


@pytest.mark.parametrize(
    "adapter",
    [("LoRA", {"lora_bias": True}), ("LoRA", {"lora_dropout": 0.2}), ("RoAD", {"variant": "road_4"})],
)
def test_options_work_through_a_whole_life(
    backbone: Backbone, adapter: tuple[str, dict[str, object]]
) -> None:
    made = getattr(peft, adapter[0])(targets=["mlp.c_fc", "out_proj"], **adapter[1])
    train(backbone, made, made.attach(backbone))
    trained = outputs(backbone)
    made.merge(backbone)
    assert distance(outputs(backbone), trained) <= 2e-6


def test_named_adapters_switch_exactly(backbone: Backbone) -> None:
    before = outputs(backbone)
    torch.manual_seed(0)
    adapter = peft.LoRA(r=2)
    backbone.logit_scale.requires_grad_(True)
    seen = {}
    for name in ("one", "two", "three"):
        names = adapter.attach(backbone, name)
        trainable = {n for n, p in backbone.named_parameters() if p.requires_grad}
        assert trainable == {*names, "model.logit_scale"}, "attaching freezes the adapters before it"
        train(backbone, adapter, names)
        seen[name] = outputs(backbone)
    for name, expected in [*seen.items(), (None, before), *reversed(seen.items())]:
        adapter.activate(backbone, name)
        assert torch.equal(outputs(backbone), expected)
    assert {n for n, p in backbone.named_parameters() if p.requires_grad} == trainable
    with pytest.raises(UserError, match="did you mean 'three'"):
        adapter.activate(backbone, "thre")
    with pytest.raises(UserError, match="attached already"):
        adapter.attach(backbone, "one")
    for name in ("mlp", "copy", "a.b", ""):
        with pytest.raises(UserError, match="cannot name an adapter"):
            adapter.attach(backbone, name)
    with pytest.raises(UserError, match="of another kind"):
        peft.IA3().attach(backbone, "four")
    with pytest.raises(UserError, match="rewrites the base weights"):
        peft.PiSSA().attach(backbone, "four")
    adapter.merge(backbone)
    assert distance(outputs(backbone), seen["one"]) <= 2e-6 and backbone.logit_scale.requires_grad


def test_b_of_lora_plus_learns_faster(backbone: Backbone) -> None:
    names = [f"backbone.{name}" for name in peft.LoRAPlus(last=1).attach(backbone)]
    (group,) = peft.LoRAPlus(b_rate=4.0).groups([*names, "composer.gate"])
    assert group.lr_factor == 4.0 and group.weight_decay is None
    assert [*group.names] == [name for name in names if ".lora_B." in name] and len(group.names) == 12
    assert peft.LoRA().groups(names) == [] and peft.LoRAPlus(b_rate=1.0).groups(names) == []
    with pytest.raises(ValueError, match="b_rate must be above 0"):
        peft.LoRAPlus(b_rate=0.0)


def test_the_same_seed_gives_the_same_adapter(backbone: Backbone) -> None:
    other = copy.deepcopy(backbone)
    for one in (backbone, other):
        torch.manual_seed(3)
        peft.LoRA().attach(one)
    assert backbone.fingerprint() == other.fingerprint()


def test_targets_stand_in_the_order_of_the_model(backbone: Backbone) -> None:
    """Whatever sets and processes do: they are part of the fingerprint."""
    peft.LoRA(targets="both").attach(backbone)
    found = resolve(backbone, "both", "both", None)
    model = [name.replace(".base_layer", "") for name, _ in backbone.model.named_modules()]
    assert found == [name for name in dict.fromkeys(model) if name in found] and len(found) == 24
    backbone.base_keys = frozenset(sorted(backbone.base_keys, reverse=True))
    assert resolve(backbone, "both", "both", None) == found


def test_a_diverged_adapter_is_not_merged(backbone: Backbone) -> None:
    adapter = peft.LoRA()
    names = adapter.attach(backbone)
    backbone.get_parameter(names[1]).data.fill_(float("nan"))
    before = backbone.stock_state_dict()
    with pytest.raises(UserError, match="not finite"):
        adapter.merge(backbone)
    assert all(torch.equal(value, before[key]) for key, value in backbone.stock_state_dict().items())


def test_damaged_adapter_folders_are_refused(backbone: Backbone, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        load_adapter(backbone, tmp_path)
    adapter = peft.LoRA()
    adapter.attach(backbone)
    adapter.save(backbone, tmp_path)
    adapter.merge(backbone)
    file = tmp_path / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(UserError, match="not readable"):
        load_adapter(backbone, tmp_path)
    assert not backbone.adapters.installed


def test_adapters_follow_the_mode_of_the_model(backbone: Backbone) -> None:
    peft.LoRA(lora_dropout=0.5).attach(backbone.eval())
    assert not any(module.training for module in backbone.model.modules())
