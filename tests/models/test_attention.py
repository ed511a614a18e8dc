from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from clplat.models.attention import SplitAttention, merge_state_dict, split_attention, split_state_dict


def attention(
    width: int = 24, heads: int = 4, bias: bool = True, batch_first: bool = True
) -> nn.MultiheadAttention:
    generator = torch.Generator().manual_seed(0)
    source = nn.MultiheadAttention(width, heads, bias=bias, batch_first=batch_first)
    for parameter in source.parameters():
        parameter.data.normal_(std=0.2, generator=generator)
    return source.eval()


@settings(max_examples=25, deadline=None)
@given(
    heads=st.sampled_from([1, 2, 4]),
    bias=st.booleans(),
    batch_first=st.booleans(),
    masked=st.sampled_from(["none", "additive", "boolean", "per head"]),
    length=st.integers(1, 7),
)
def test_it_computes_what_the_fused_attention_computes(
    heads: int, bias: bool, batch_first: bool, masked: str, length: int
) -> None:
    source = attention(heads=heads, bias=bias, batch_first=batch_first)
    split = SplitAttention(source)
    x = torch.randn(3, length, 24, generator=torch.Generator().manual_seed(length))
    x = x if batch_first else x.transpose(0, 1)
    future = torch.ones(length, length, dtype=torch.bool).triu(1)
    mask = {
        "none": None,
        "additive": torch.zeros(length, length).masked_fill(future, float("-inf")),
        "boolean": future,
        "per head": torch.zeros(3 * heads, length, length).masked_fill(future, float("-inf")),
    }[masked]
    with torch.no_grad():
        expected = source(x, x, x, need_weights=False, attn_mask=mask)[0]
        actual, weights = split(x, x, x, need_weights=False, attn_mask=mask)
    torch.testing.assert_close(actual, expected, atol=1e-6, rtol=1e-5)
    assert weights is None


def test_one_query_can_attend_to_many_keys() -> None:
    source = attention()
    split = SplitAttention(source)
    x = torch.randn(3, 5, 24, generator=torch.Generator().manual_seed(1))
    whole = split(x, x, x)[0]
    torch.testing.assert_close(split(x[:, 2:3], x, x)[0], whole[:, 2:3])
    hidden = torch.arange(5) > 2
    torch.testing.assert_close(
        split(x[:, 2:3], x, x, attn_mask=hidden[None, None, None].expand(3, 1, 1, 5))[0],
        split(x[:, 2:3], x[:, :3], x[:, :3])[0],
    )


@pytest.mark.parametrize("bias", [True, False])
def test_the_state_dict_goes_there_and_back(bias: bool) -> None:
    model = nn.ModuleDict({"attn": attention(bias=bias), "other": nn.Linear(2, 2)})
    stock = {key: value.clone() for key, value in model.state_dict().items()}
    assert split_attention(model) == ["attn"]
    split = model.state_dict()
    assert "attn.q_proj.weight" in split and "attn.in_proj_weight" not in split
    merged = merge_state_dict(split, ["attn"])
    assert list(merged) == sorted(merged, key=list(merged).index) and merged.keys() == stock.keys()
    assert all(torch.equal(merged[key], stock[key]) for key in stock)
    assert all(torch.equal(value, split[key]) for key, value in split_state_dict(merged, ["attn"]).items())


def test_what_cannot_be_split_is_left_alone_or_refused() -> None:
    wide = nn.MultiheadAttention(24, 4, kdim=8, vdim=8)
    model = nn.ModuleDict({"attn": wide})
    assert split_attention(model) == [] and model["attn"] is wide
    with pytest.raises(ValueError, match="can be split"):
        SplitAttention(wide)
    split = SplitAttention(attention())
    x = torch.zeros(1, 2, 24)
    with pytest.raises(ValueError, match="no attention weights"):
        split(x, x, x, need_weights=True)
    with pytest.raises(TypeError):
        split(x, x, x, key_padding_mask=None)


def test_mode_type_and_generator_are_kept() -> None:
    source = attention().double().train()
    state = torch.get_rng_state()
    split = SplitAttention(source)
    assert torch.equal(torch.get_rng_state(), state)
    assert split.training and split.q_proj.weight.dtype == torch.float64
