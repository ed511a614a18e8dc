"""Bottleneck adapters: a narrow MLP at the attention or the MLP of every block, or at both."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, Literal

from torch import nn

from clplat.config.space import Choice, Float, Int
from clplat.errors import UserError
from clplat.mechanisms.bottlenecks import Bottleneck as Narrow
from clplat.mechanisms.bottlenecks import Form, Noted, kronecker_rule
from clplat.models.backbone import Backbone
from clplat.parts.adapters._base import Adapter
from clplat.parts.adapters._blocks import blocks, which
from clplat.parts.adapters._growing import put

__all__ = ["Bottleneck"]


class Bottleneck(Adapter):
    """``s U f(D h)`` in every block, D down to ``size`` and U back, zero at first; the layers stay frozen.

    A branch of a block is its attention or its MLP, which reads x and makes o. Behind it (sequential) h = o,
    beside it (parallel) h = x, normed or as the residual stream has it. With ``residual`` what h is made from
    is added as well: o behind a branch, x beside it.

    =============  ==================  ============  ====================================================
    Houlsby        attention and ffn   sequential
    Pfeiffer       ffn                 sequential
    parallel       ffn                 parallel      ``scale`` 4
    AdaptFormer    ffn                 parallel      reads the stream, ``scale`` 0.1
    Compacter      attention and ffn   sequential    ``weights="kronecker"``
    =============  ==================  ============  ====================================================

    Args:
        place: at which branch.
        path: behind the branch or beside it.
        reads: of what stands beside an MLP: its normed input, or the stream before the norm.
        residual: default yes behind a branch and no beside it, which is the identity at first; the other
            way the branch is replaced, or its input is added to it.
        size: of the bottleneck.
        activation: f.
        weights: dense; sums of Kronecker products; products of low rank.
        n: number of those products.
        inner: rank of their right factors, or of the low-rank weights.
        shared: the left factors of Kronecker products are the same everywhere.
        norm: a LayerNorm before D, behind U, or none.
        scale: s.
        learned: train s, one number for each bottleneck.
        dropout: after f, in training.
        towers: one tower or both.

    Raises:
        ValueError: a size below 1, another word, the stream read elsewhere than beside an MLP.

    What is trained: ``size * (2 W + 1) + W`` numbers for a dense bottleneck in a block of width W.

    References:
        Houlsby et al., "Parameter-Efficient Transfer Learning for NLP", ICML 2019, arXiv:1902.00751; Pfeiffer
        et al., "AdapterFusion", EACL 2021, arXiv:2005.00247; He et al., "Towards a Unified View of
        Parameter-Efficient Transfer Learning", ICLR 2022, arXiv:2110.04366; Chen et al., "AdaptFormer",
        NeurIPS 2022, arXiv:2205.13535; Karimi Mahabadi et al., "Compacter", NeurIPS 2021, arXiv:2106.04647;
        Cappellazzo et al., "Parameter-Efficient Transfer Learning of Audio Spectrogram Transformers", 2024,
        arXiv:2312.03694.

    Example:
        >>> from clplat.testing.tiny import tiny_backbone
        >>> Bottleneck(size=4, towers="image").attach(tiny_backbone())[0]
        'model.visual.transformer.resblocks.0.mlp.changes.default.down.weight'
    """

    mergeable = False

    def __init__(
        self,
        place: Annotated[Literal["ffn", "attention", "both"], Choice("ffn", "attention", "both")] = "ffn",
        path: Annotated[Literal["sequential", "parallel"], Choice("sequential", "parallel")] = "sequential",
        reads: Literal["normed", "stream"] = "normed",
        residual: bool | None = None,
        size: Annotated[int, Int(4, 256, log=True)] = 32,
        activation: Literal["relu", "gelu", "silu", "none"] = "relu",
        weights: Literal["dense", "kronecker", "low_rank"] = "dense",
        n: int = 4,
        inner: int = 1,
        shared: bool = True,
        norm: Literal["none", "in", "out"] = "none",
        scale: Annotated[float, Float(0.05, 8.0, log=True)] = 1.0,
        learned: bool = False,
        dropout: float = 0.0,
        towers: Literal["both", "image", "text"] = "both",
    ) -> None:
        for name, word, allowed in (
            ("place", place, ("ffn", "attention", "both")),
            ("path", path, ("sequential", "parallel")),
            ("reads", reads, ("normed", "stream")),
            ("towers", towers, ("both", "image", "text")),
        ):
            if word not in allowed:
                raise ValueError(f"{name} is '{word}'; allowed: {', '.join(allowed)}")
        if reads == "stream" and (place, path) != ("ffn", "parallel"):
            raise ValueError(f"reads stream goes with place ffn and path parallel, not {place} and {path}")
        self.form = Form(size, activation, weights, n, inner, norm, scale, learned, dropout)
        self.place, self.path, self.reads, self.residual = place, path, reads, residual
        self.size, self.activation, self.weights, self.n, self.inner = size, activation, weights, n, inner
        self.shared, self.norm, self.scale, self.learned = shared, norm, scale, learned
        self.dropout, self.towers = dropout, towers
        self._adds = path == "sequential" if residual is None else residual
        self.identity_at_init = self._adds == (path == "sequential")  # type: ignore[misc]

    def attach(self, backbone: Backbone, name: str = "default") -> list[str]:
        """Put bottlenecks into the blocks under ``name`` and use them; those attached before are frozen.

        Raises:
            UserError: the name is taken, adapters of another kind are attached, a tower is opaque, or ``n``
                does not divide a width.
        """
        widths = {"image": backbone.image_width or 0, "text": backbone.text_width}
        kronecker = self.weights == "kronecker"
        towers = which(backbone, self.towers)
        if kronecker and (odd := [n for n in (self.size, *(widths[t] for t in towers)) if n % self.n]):
            raise UserError(
                f"adapter.n must divide adapter.size and the towers' widths; {self.n} not {odd[0]}"
            )
        rule = kronecker_rule(self.n).to(backbone.logit_scale) if kronecker and self.shared else None
        rule = nn.Parameter(rule.detach()) if rule is not None else None
        layers: dict[str, Any] = {}
        for tower in towers:
            for block in blocks(backbone, tower)[0]:
                for branch in ("attention", "ffn") if self.place == "both" else (self.place,):
                    layers |= self._at(block, branch, widths[tower], rule)
        options = {key: value for key, value in vars(self).items() if key in _OPTIONS}
        return put(backbone, layers, name, "bottleneck", options)

    def _at(self, block: str, branch: str, width: int, rule: nn.Parameter | None) -> dict[str, Any]:
        """What stands at the layers of a branch, by name; what only notes comes first."""
        at, notes = (
            (f"{block}.mlp", f"{block}.ln_2")
            if branch == "ffn"
            else (
                f"{block}.attn.out_proj",
                f"{block}.attn.q_proj",
            )
        )
        note = None
        if self.path == "parallel" and (branch == "attention" or self.reads == "stream"):
            note = Noted()
        make = partial(
            Narrow,
            width,
            self.form,
            sequential=self.path == "sequential",
            residual=self._adds,
            note=note,
            rule=rule,
        )
        made: dict[str, Any] = {} if note is None else {notes: lambda _, kept=note: kept}
        return made | {at: lambda _: make()}


_OPTIONS = (
    *("place", "path", "reads", "residual", "size", "activation", "weights", "n", "inner", "shared", "norm"),
    *("scale", "learned", "dropout", "towers"),
)
