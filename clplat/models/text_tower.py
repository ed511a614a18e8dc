"""The forward pass of open_clip's causal text towers, see `clplat.models.towers`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from clplat.models.features import TextFeatures
from clplat.models.prompt import Prefix, TowerPrompt
from clplat.models.towers import blocks_of, drop, insert_first, is_plain, run_blocks

__all__ = [
    "causal",
    "is_open_text_tower",
    "projected_text",
    "text_bottom",
    "text_ends",
    "text_positions",
    "text_tower",
]


def is_open_text_tower(text: nn.Module) -> bool:
    """True for a causal transformer pooled at its EOT token, which is what `text_tower` can run."""
    from open_clip import CLIP
    from open_clip.transformer import TextTransformer

    return (
        isinstance(text, CLIP | TextTransformer)
        and text.attn_mask is not None
        and getattr(text, "cls_emb", None) is None
        and _pool_type(text) in ("argmax", "eos")
        and text.transformer.batch_first
    )


def _pool_type(text: Any) -> str:
    return str(getattr(text, "text_pool_type", None) or text.pool_type)


def text_ends(text: Any, input_ids: Tensor) -> Tensor:
    """The place of the EOT token of every text, (B,)."""
    if _pool_type(text) == "eos":
        eos = getattr(text, "text_eos_id", None)
        found: Tensor = input_ids == (text.eos_id if eos is None else eos)
        return found.int().argmax(dim=-1)
    return input_ids.argmax(dim=-1)  # the EOT has the largest id of CLIP's vocabulary


def text_positions(text: Any) -> Tensor:
    """The positional embedding (L, W), or what an adapter makes of it for longer texts (`lengthen_text`)."""
    own: Tensor = text.positional_embedding
    longer = getattr(text, "longer", None)
    return own if longer is None else longer(own)


def text_tower(
    text: Any,
    x: Tensor,
    ends: Tensor,
    prompt: TowerPrompt | None,
    wants: frozenset[str],
    *,
    length: int | None = None,
    done: int = 0,
    shared: int = 0,
) -> TextFeatures:
    """Run a causal text tower on embeddings (B, L, W) without positions, whose EOT stands at ``ends`` (B,).

    Nothing after the EOT can influence it, so the batch is cut at its longest text, or at ``length`` where
    the caller knows it: reading ``ends`` makes a GPU wait. A prompt takes its places from the texts: what
    then exceeds the context loses its last words, never its EOT. With ``done`` the input is what the first
    blocks gave, no more of them than are below the prompt. The first ``shared`` places, before each text's
    EOT, are the same in all texts: nothing behind them reaches them, so that they are run once where nobody
    asks for more than what is pooled.
    """
    x = x[:, : length if length is not None else int(ends.max()) + 1]
    lowest = 0 if prompt is None else prompt.lowest
    if prompt is not None and not lowest:
        x, ends = _entered(text, x, ends, prompt)
    once = shared and len(x) > 1 and prompt is None and not done and wants == {"pooled"}
    if once and all(is_plain(block) for block in blocks_of(text.transformer)):
        return _behind_shared(text, x, ends, shared)
    if not done:
        x = x + text_positions(text)[: x.shape[1]].to(x.dtype)

    inserted = 0 if prompt is None or lowest else prompt.length
    at_end = _picks(ends + inserted)
    found, states = TextFeatures(), list[Tensor]()

    def collect(x: Tensor, alone: bool) -> None:
        if "hidden" in wants:
            found.hidden.append(drop(x, inserted))
        if "states" in wants:
            states.append(x[:, 0] if alone else at_end(x))

    if prompt is not None and lowest:
        x = run_blocks(text.transformer, x, causal(text, x), collect=collect, start=done, stop=lowest)
        x, ends = _entered(text, x, ends, prompt)
        done, inserted = lowest, prompt.length
        at_end = _picks(ends + inserted)
    select, masked = None, None
    if not wants & {"tokens", "hidden"}:
        masked = (torch.arange(x.shape[1], device=x.device) > (ends + inserted)[:, None])[:, None, None]

        def select(t: Tensor) -> Tensor:
            return at_end(t).unsqueeze(1)

    x = run_blocks(text.transformer, x, causal(text, x), prompt, select, masked, collect, start=done)
    found.ends = ends
    found.states = torch.stack(states, dim=1) if states else None
    if "tokens" in wants:
        x = text.ln_final(x)
        found.tokens, pooled = drop(x, inserted), at_end(x)
    else:
        pooled = text.ln_final(x[:, 0] if select is not None else at_end(x))
    if wants & {"pooled", "sets"}:
        found.pooled = projected_text(text, pooled)
    return found


class _Shared:
    """Keys and values of places that all texts share, as a prompt that adds nothing else."""

    lowest = 0

    def __init__(self, prefixes: list[Prefix]) -> None:
        self.prefix = prefixes.__getitem__

    def __call__(self, layer: int) -> None:
        return None


def _behind_shared(text: Any, x: Tensor, ends: Tensor, shared: int) -> TextFeatures:
    """The pooled features of texts (B, L, W) whose first places are those of the first text."""
    n = x.shape[1]
    x = x + text_positions(text)[:n].to(x.dtype)
    mask = causal(text, x)
    first, x = x[:1, :shared], x[:, shared:]
    prefixes: list[Prefix] = []
    for block in blocks_of(text.transformer):
        normed = block.ln_1(first)
        prefixes.append((block.attn.k_proj(normed), block.attn.v_proj(normed)))
        first = block(first, attn_mask=mask[:shared, :shared])
    places = ends - shared
    at_end, own = _picks(places), mask[shared:, shared:]
    masked = (torch.arange(n - shared, device=x.device) > places[:, None])[:, None, None]
    prompt: Any = _Shared(prefixes)
    x = run_blocks(text.transformer, x, own, prompt, lambda t: at_end(t).unsqueeze(1), masked)
    return TextFeatures(ends=ends, pooled=projected_text(text, text.ln_final(x[:, 0])))


def _entered(text: Any, x: Tensor, ends: Tensor, prompt: TowerPrompt) -> tuple[Tensor, Tensor]:
    """Texts with the prompt's vectors before them, and their ends, where these take no place."""
    x, ends = _shorten(x, ends, len(text.attn_mask) - max(prompt.length, prompt.reserved))
    return insert_first(x, prompt), ends


def causal(text: Any, x: Tensor) -> Tensor:
    """The causal mask (L, L) of texts (B, L, W)."""
    n = x.shape[1]
    mask: Tensor = text.attn_mask[:n, :n].to(x.dtype)
    return mask


def _picks(places: Tensor) -> Callable[[Tensor], Tensor]:
    """Takes from (B, L, W) the vector (B, W) at each text's place."""
    rows = torch.arange(len(places), device=places.device)
    return lambda t: t[rows, places]


def projected_text(text: Any, pooled: Tensor) -> Tensor:
    """Features (..., W) in the joint space (..., D), where the tower has a projection."""
    projection = text.text_projection
    if projection is None:
        return pooled
    projected: Tensor = projection(pooled) if isinstance(projection, nn.Module) else pooled @ projection
    return projected


def text_bottom(text: Any, embeddings: Tensor, stop: int) -> Tensor:
    """The output (B, L, W) of the first ``stop`` blocks of a causal text tower without prompt."""
    x = embeddings + text_positions(text)[: embeddings.shape[1]].to(embeddings.dtype)
    return run_blocks(text.transformer, x, causal(text, x), stop=stop)


def _shorten(embeddings: Tensor, ends: Tensor, room: int) -> tuple[Tensor, Tensor]:
    """Cut texts to ``room`` places; the EOT moves to the last one."""
    if embeddings.shape[1] <= room:
        return embeddings, ends
    new = ends.clamp(max=room - 1)
    places = torch.arange(room, device=ends.device).expand(len(ends), -1)
    places = torch.where(places == new[:, None], ends[:, None], places)
    return embeddings.gather(1, places[..., None].expand(-1, -1, embeddings.shape[2])), new
