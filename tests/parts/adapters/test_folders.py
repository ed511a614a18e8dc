"""Folders that PEFT wrote by itself, around the same model: they are loaded, or refused in one line."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from torch import Tensor, nn

from clplat.errors import UserError
from clplat.models.backbone import Backbone
from clplat.parts.adapters.peft import METHODS, LoRA, adapter_class, load_adapter
from tests.parts.adapters.test_peft import distance, first_of_each_kind, outputs

MLP = ["c_fc", "c_proj"]


def written(backbone: Backbone, config: Any, folder: Path) -> Tensor:
    """What the model puts out with an adapter of PEFT's own, away from its start; it is saved by PEFT."""
    torch.manual_seed(0)
    made: Any = peft.get_peft_model(backbone.model, config)
    with torch.no_grad():
        for parameter in made.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter), alpha=0.03)
    made.save_pretrained(str(folder))
    return outputs(backbone)


@pytest.mark.parametrize("method", first_of_each_kind())
def test_a_plain_folder_is_loaded(backbone: Backbone, method: str, tmp_path: Path) -> None:
    fresh, config = copy.deepcopy(backbone), adapter_class(method)()._config(["any"])
    config.target_modules = ["ln_1", "ln_post"] if METHODS[method].targets == "norm" else MLP
    if method == "frod":
        config.target_modules = r".*visual.*c_fc"
    if method == "ia3":
        config.feedforward_modules = ["c_proj"]
    trained = written(backbone, config, tmp_path)
    state = torch.get_rng_state()
    loaded = load_adapter(fresh, tmp_path, "again")
    assert torch.equal(torch.get_rng_state(), state)
    assert loaded.method == {"lora_plus": "lora"}.get(method, method)  # its rates are no part of a folder
    assert distance(outputs(fresh), trained) == 0.0
    again = copy.deepcopy(fresh)
    if METHODS[method].mergeable:
        loaded.merge(again)
        assert distance(outputs(again), trained) <= 2e-6


@pytest.mark.parametrize(
    ("options", "ours"),
    [
        ({}, {"r": 8, "lora_alpha": 8, "towers": "both"}),
        ({"init_lora_weights": "gaussian", "r": 2}, {"r": 2}),
        ({"target_modules": r".*visual.*\.0\.mlp\.c_fc"}, {"towers": "image"}),
        ({"target_modules": r"transformer.*\.1\.mlp\.c_fc"}, {"towers": "text"}),
        ({"layers_to_transform": [1], "layers_pattern": "resblocks"}, {"towers": "both"}),
        ({"lora_dropout": 0.25, "lora_bias": True}, {"lora_dropout": 0.25, "lora_bias": True}),
    ],
)
def test_pefts_own_options_become_ours(
    backbone: Backbone, options: Mapping[str, Any], ours: Mapping[str, Any], tmp_path: Path
) -> None:
    fresh = copy.deepcopy(backbone)
    trained = written(backbone, peft.LoraConfig(**{"target_modules": MLP, **options}), tmp_path)
    loaded = load_adapter(fresh, tmp_path)
    assert loaded.options.items() >= ours.items() and loaded.method == "lora"
    assert distance(outputs(fresh), trained) == 0.0
    wrapped = {name for name, module in backbone.model.named_modules() if hasattr(module, "base_layer")}
    assert set(loaded.options["targets"]) == wrapped


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (peft.LoraConfig(target_modules=MLP, rank_pattern={"c_fc": 2}), "a LoRA with rank_pattern"),
        (peft.LoraConfig(target_modules=MLP, bias="lora_only"), "with bias lora_only"),
        (peft.LoraConfig(target_modules=MLP, modules_to_save=["ln_1"]), "with modules_to_save"),
        (peft.LoraConfig(target_modules=["other"]), "wraps modules that backbone"),
        (peft.PolyConfig(target_modules=MLP), "PolyConfig, which is not offered"),
        (peft.PromptTuningConfig(num_virtual_tokens=2), "PromptTuningConfig, which is not offered"),
    ],
)
def test_what_is_not_offered_is_refused_in_one_line(
    backbone: Backbone, config: Any, said: str, tmp_path: Path
) -> None:
    config.save_pretrained(str(tmp_path))
    with pytest.raises(UserError, match=said) as caught:
        load_adapter(backbone, tmp_path)
    assert "\n" not in str(caught.value) and not backbone.adapters.installed


def test_damaged_and_pickled_folders_are_refused(backbone: Backbone, tmp_path: Path) -> None:
    peft.LoraConfig(target_modules=MLP).save_pretrained(str(tmp_path))
    (tmp_path / "adapter_model.bin").write_bytes(b"")
    with pytest.raises(UserError, match="pickled weights are not read"):
        load_adapter(backbone, tmp_path)
    for text in ("{", "[]", '{"peft_type": "NOTHING"}'):
        (tmp_path / "adapter_config.json").write_text(text)
        with pytest.raises(UserError, match=r"adapter_config\.json is not readable"):
            load_adapter(backbone, tmp_path)


def test_the_full_name_of_a_module_means_that_module(backbone: Backbone) -> None:
    """The text tower's names are the ends of the image tower's."""
    names = LoRA(targets=["transformer.resblocks.0.mlp.c_fc"], r=2).attach(backbone)
    assert [name.partition(".lora")[0] for name in names] == ["model.transformer.resblocks.0.mlp.c_fc"] * 2
    assert isinstance(backbone.model.visual.transformer.resblocks[0].mlp.c_fc, nn.Linear)
