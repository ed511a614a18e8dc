"""Long-CLIP: a text tower that takes longer texts, and is the same for short ones."""

from __future__ import annotations

from typing import Annotated, Literal

from clplat.config.space import Int
from clplat.errors import UserError
from clplat.mechanisms.longer_text import Stretched
from clplat.models.backbone import Backbone
from clplat.models.longer_text import lengthen_text
from clplat.parts.adapters._base import Adapter
from clplat.parts.adapters.full import Full

__all__ = ["LongText"]


class LongText(Adapter):
    """Full fine-tuning with a longer context: the first ``keep`` positions stay, the rest is stretched.

    ``L`` places become ``keep + factor * (L - keep)``, of CLIP's 77 are 248; the tokenizer's length and the
    causal mask change with them. Texts of ``keep`` tokens and fewer are embedded as before. Behind them
    positions are interpolated, with a trained residual that begins at zero; the positions that were there
    stay frozen, all other weights are trained as by `Full`.

    Args:
        keep: places that stay as they are, SOS and EOT among them.
        factor: how much longer the rest becomes.
        towers: train the weights of one tower or both; positions belong to the text tower.
        last: only this many last blocks of each tower and what stands behind them; default everything.

    Raises:
        ValueError: keep or factor below 1, another tower.

    What is trained: as `Full`, and ``factor * (L - keep) * width`` numbers.

    Reference:
        Zhang et al., "Long-CLIP: Unlocking the Long-Text Capability of CLIP", ECCV 2024, arXiv:2403.15378.

    Example:
        >>> from clplat.testing.tiny import tiny_backbone
        >>> backbone = tiny_backbone()
        >>> LongText(keep=8, last=1).attach(backbone)[-1]
        'model.longer.residuals.default'
        >>> backbone.context_length, backbone.tokenize(["a red shoe"]).shape
        (24, torch.Size([1, 24]))
    """

    trains_base = True
    mergeable = False
    without_effect = Full.without_effect

    def __init__(
        self,
        keep: Annotated[int, Int(8, 40)] = 20,
        factor: Annotated[int, Int(2, 8)] = 4,
        towers: Literal["both", "image", "text"] = "both",
        last: int | None = None,
    ) -> None:
        if keep < 1 or factor < 1:
            raise ValueError(f"keep and factor must be at least 1, not {keep} and {factor}")
        if towers not in ("both", "image", "text"):
            raise ValueError(f"towers is '{towers}'; allowed: both, image, text")
        self.keep = keep
        self.factor = factor
        self.towers = towers
        self.last = last

    def attach(self, backbone: Backbone, name: str = "default") -> list[str]:
        """Make the context longer, and set ``requires_grad`` on what is trained.

        Raises:
            UserError: adapters are attached, an opaque text tower, or a context of no more than ``keep``.
        """
        length = backbone.context_length
        if length <= self.keep + 1:
            raise UserError(
                f"backbone '{backbone.name}' takes texts of {length} tokens; adapter.keep must be at most "
                f"{length - 2}, not {self.keep}"
            )
        trained = Full(self.towers, self.last).attach(backbone)
        text = getattr(backbone.model, "text", backbone.model)
        positions = text.positional_embedding
        positions.requires_grad_(False)
        longer = Stretched(positions.detach(), self.keep, self.factor, name)
        lengthen_text(backbone, longer, self.keep + self.factor * (length - self.keep))
        options = {key: getattr(self, key) for key in ("keep", "factor", "towers", "last")}
        backbone.adapters.add(name, "long_text", **options)
        trainable = {key for key, parameter in backbone.named_parameters() if parameter.requires_grad}
        residual = next(key for key in trainable if key.endswith(f"longer.residuals.{name}"))
        return [*(key for key in trained if key in trainable), residual]

    def activate(self, backbone: Backbone, name: str | None) -> None:
        """Do nothing: the trained weights are the base."""
        if name is None:
            raise UserError("long_text changes the base weights: there is no bare base to activate")
