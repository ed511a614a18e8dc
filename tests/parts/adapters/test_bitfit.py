"""BitFit trains all biases, and what BEFT leaves out."""

from __future__ import annotations

import torch

from clplat.parts.adapters.bitfit import BitFit
from clplat.parts.adapters.peft import adapter_class
from clplat.testing import tiny_backbone
from clplat.testing.towers import attached, embeddings, train_a_little


def test_it_is_every_bias_of_the_model_and_their_sum_with_the_base() -> None:
    backbone, plain = tiny_backbone(), tiny_backbone()
    biases = [key for key, _ in plain.model.named_parameters() if key.endswith("bias")]
    names = attached(BitFit(), backbone)
    assert sorted(name.replace(".changes.default", "") for name in names) == sorted(
        f"model.{key}" for key in biases
    )
    train_a_little(backbone)
    for key in biases:
        change = backbone.get_parameter(f"model.{key.removesuffix('bias')}changes.default.bias")
        plain.model.get_parameter(key).data.add_(change.data)
    for tower, rows in embeddings(backbone).items():
        torch.testing.assert_close(rows, embeddings(plain)[tower])


def test_beft_has_no_layer_norms_and_bitfit_has() -> None:
    beft = attached(adapter_class("beft")(), tiny_backbone())
    bitfit = attached(BitFit(), tiny_backbone())
    assert not [name for name in beft if "ln_" in name]
    assert len([name for name in bitfit if "ln_" in name]) == 2 * 2 * 2 + 3
    assert len(bitfit) - len(beft) == 11


def test_one_tower_and_its_last_block() -> None:
    names = attached(BitFit(towers="text", last=1), tiny_backbone())
    assert all(".visual." not in name for name in names) and any("ln_final" in name for name in names)
    assert {name.split("resblocks.")[1][0] for name in names if "resblocks" in name} == {"1"}
