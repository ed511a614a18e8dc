"""Attention with four real `nn.Linear` layers, because no adapter can reach the fused one.

`nn.MultiheadAttention` reads ``out_proj.weight`` and ``in_proj_weight`` without ever calling a module, so an
adapter that wraps ``out_proj`` is installed, counted and silently ignored. Splitting is exact, and the stock
names come back on save.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["SplitAttention", "merge_state_dict", "split_attention", "split_state_dict"]

_PARTS = ("q_proj", "k_proj", "v_proj")


class SplitAttention(nn.Module):
    """Multi-head attention that computes what ``source`` computes, with separate q/k/v/out layers.

    Args:
        source: attention with one embedding width; its weights are copied.
    """

    def __init__(self, source: nn.MultiheadAttention) -> None:
        super().__init__()
        if not _splittable(source):
            raise ValueError("only attention with one embedding width and no extra key or value can be split")
        width, bias = source.embed_dim, source.in_proj_bias is not None
        self.embed_dim = width
        self.num_heads = source.num_heads
        self.batch_first = source.batch_first
        self.dropout = source.dropout
        # Made without initialisation: it would cost time and draw from torch's generator.
        where = {"device": source.in_proj_weight.device, "dtype": source.in_proj_weight.dtype}
        make: Callable[..., nn.Linear] = partial(nn.utils.skip_init, nn.Linear, width, width, **where)
        self.q_proj, self.k_proj, self.v_proj = make(bias=bias), make(bias=bias), make(bias=bias)
        self.out_proj = make(bias=source.out_proj.bias is not None)
        state = {f"attn.{key}": value for key, value in source.state_dict().items()}
        self.load_state_dict({k[5:]: v for k, v in split_state_dict(state, ["attn"]).items()})
        self.train(source.training)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        need_weights: bool = False,
        attn_mask: Tensor | None = None,
        prefix: tuple[Tensor, Tensor] | None = None,
    ) -> tuple[Tensor, None]:
        """Attend; the signature is the part of `nn.MultiheadAttention`'s that open_clip uses, and a prefix.

        Args:
            query: (B, L, D); key and value (B, S, D); (L, B, D) unless ``batch_first``.
            attn_mask: added to the scores, or boolean with True = *masked*, as in `nn.MultiheadAttention`.
                (L, S), (B * heads, L, S), or any shape that broadcasts to (B, heads, L, S).
            prefix: keys and values, each (P, D) or (B, P, D), that come before those of ``key`` and ``value``
                as they are, without projection; no mask hides them.
        """
        if need_weights:
            raise ValueError("SplitAttention returns no attention weights")
        if not self.batch_first:
            query, key, value = query.transpose(0, 1), key.transpose(0, 1), value.transpose(0, 1)
        batch, length, width = query.shape
        heads, head = self.num_heads, width // self.num_heads
        # In this order: a backward pass adds gradients in the reverse one, and bits depend on it.
        queries, keys, values = self.q_proj(query), self.k_proj(key), self.v_proj(value)
        if prefix is not None:
            more = [part.to(keys.dtype).expand(batch, -1, -1) for part in prefix]
            keys, values = torch.cat([more[0], keys], dim=1), torch.cat([more[1], values], dim=1)
        if attn_mask is not None:
            if attn_mask.dim() == 3:
                attn_mask = attn_mask.view(batch, heads, length, -1)
            if prefix is not None:
                attn_mask = F.pad(attn_mask, (prefix[0].shape[-2], 0))
            if attn_mask.dtype == torch.bool:
                attn_mask = ~attn_mask  # scaled_dot_product_attention reads True as "attend"
        attended = F.scaled_dot_product_attention(
            queries.view(batch, length, heads, head).transpose(1, 2),
            keys.view(batch, -1, heads, head).transpose(1, 2),
            values.view(batch, -1, heads, head).transpose(1, 2),
            attn_mask=attn_mask,
            dropout_p=self.dropout if self.training else 0.0,
        )
        out = self.out_proj(attended.transpose(1, 2).reshape(batch, length, width))
        return (out if self.batch_first else out.transpose(0, 1)), None


def split_attention(model: nn.Module) -> list[str]:
    """Replace every fused attention of ``model`` in place; return the replaced modules' names.

    To be called before anything holds a parameter of the model: a wrapper, an optimizer, a hash.
    """
    found = [name for name, module in model.named_modules() if _splittable(module)]
    for name in found:
        parent, _, child = name.rpartition(".")
        module = model.get_submodule(name)
        assert isinstance(module, nn.MultiheadAttention)
        setattr(model.get_submodule(parent), child, SplitAttention(module))
    return found


def split_state_dict(state: Mapping[str, Tensor], names: Iterable[str]) -> dict[str, Tensor]:
    """Turn the stock keys of the attention modules ``names`` into the keys of `SplitAttention`.

    Example:
        >>> list(split_state_dict({"a.in_proj_bias": torch.zeros(6)}, ["a"]))
        ['a.q_proj.bias', 'a.k_proj.bias', 'a.v_proj.bias']
    """
    prefixes = set(names)
    result: dict[str, Tensor] = {}
    for key, tensor in state.items():
        module, _, last = key.rpartition(".")
        if module in prefixes and last in ("in_proj_weight", "in_proj_bias"):
            for part, piece in zip(_PARTS, tensor.chunk(3), strict=True):
                result[f"{module}.{part}.{last.removeprefix('in_proj_')}"] = piece
        else:
            result[key] = tensor
    return result


def merge_state_dict(state: Mapping[str, Tensor], names: Iterable[str]) -> dict[str, Tensor]:
    """The inverse of `split_state_dict`.

    Example:
        >>> part = torch.zeros(2)
        >>> merged = merge_state_dict({f"a.{p}_proj.bias": part for p in "qkv"}, ["a"])
        >>> {key: len(value) for key, value in merged.items()}
        {'a.in_proj_bias': 6}
    """
    prefixes = set(names)
    result: dict[str, Tensor] = {}
    for key, tensor in state.items():
        module, _, kind = key.rpartition(".")
        module, _, part = module.rpartition(".")
        if module not in prefixes or part not in _PARTS:
            result[key] = tensor
        elif part == "q_proj":
            result[f"{module}.in_proj_{kind}"] = torch.cat([state[f"{module}.{p}.{kind}"] for p in _PARTS])
    return result


def _splittable(module: nn.Module) -> bool:
    return (
        isinstance(module, nn.MultiheadAttention)
        and module._qkv_same_embed_dim
        and module.bias_k is None
        and not module.add_zero_attn
    )
