"""What parts may know of the towers and use of them: read-only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from typing import Any

from torch import Tensor

from clplat.errors import UserError
from clplat.models.encoders import Encoders
from clplat.models.features import POOLED, TextFeatures, Wants, in_float
from clplat.models.text_tower import projected_text
from clplat.models.towers import blocks_of

__all__ = ["Towers"]


class Towers:
    """A read-only view of the towers for composers, heads, losses, scorers and projections.

    The retriever hands it to every part before training; what a part computes with it follows the weights as
    they are at that moment, adapters and prompts included. Features are float32, whatever the towers compute
    in, and not normalised.

    Args:
        backbone: the towers.
        cast: the precision that they compute in, as a context.

    Attributes:
        joint: width D of the joint space.
        image_tokens: width of the patch tokens and states, 0 of an opaque tower; text_tokens: of words.
        image_layers, text_layers: number of blocks, 0 of an opaque tower.
        context_length: places of a text, SOS and EOT among them.
        vocabulary: how many token ids there are, 0 of an opaque tower.

    Example:
        >>> from clplat.testing.tiny import tiny_backbone
        >>> towers = Towers(tiny_backbone())
        >>> towers.joint, towers.image_tokens, towers.text_tokens
        (24, 32, 48)
        >>> towers.text(["a red shoe"]).pooled.shape
        torch.Size([1, 24])
    """

    def __init__(
        self, backbone: Encoders, cast: Callable[[], AbstractContextManager[Any]] = nullcontext
    ) -> None:
        self._backbone: Any = backbone
        self._cast = cast
        self.joint = backbone.embed_dim
        self.image_tokens = backbone.image_width or 0
        self.text_tokens = backbone.text_width if backbone.text_layers is not None else 0
        self.image_layers, self.text_layers = backbone.image_layers or 0, backbone.text_layers or 0
        self.context_length = backbone.context_length
        known = self.text_tokens and self._backbone._text.token_embedding.num_embeddings
        self.vocabulary: int = known or 0

    @property
    def room(self) -> int:
        """Places of the context that are left for a text beside the vectors of a prompt."""
        prompt = self._backbone.text_prompt
        return self.context_length - (prompt.length if prompt is not None else 0)

    def frozen(self) -> Towers:
        """The towers as they are now, whatever is trained later; a copy of all their weights."""
        return Towers(deepcopy(self._backbone).requires_grad_(False).eval())

    @property
    def scale(self) -> Tensor:
        """The logit scale (), after exp."""
        scale: Tensor = self._backbone.logit_scale.exp()
        return scale

    def need_tokens(self, who: str) -> None:
        """Refuse towers that give no words or no patches to a part that reads both.

        Raises:
            UserError: one of the towers is opaque.
        """
        if not (self.text_tokens and self.image_tokens):
            raise UserError(f"{who} needs words and patches: one of the towers is no standard CLIP tower")

    def joint_patches(self, tokens: Tensor) -> Tensor:
        """Patch tokens (B, N, W) in the joint space (B, N, D), by the image tower's own projection."""
        projection = self._backbone.model.visual.proj
        return tokens if projection is None else tokens @ projection.to(tokens.dtype)

    def joint_values(self, hidden: Sequence[Tensor]) -> Tensor:
        """Patches (B, N, D) in the joint space that keep to their place, from the output of every block.

        Each goes through the values and the output layer of the last attention by itself, without what
        attention, residual and MLP would mix into it, and then the way of the pooled feature.
        """
        visual = self._backbone.model.visual
        block = blocks_of(visual.transformer)[-1]
        with self._cast():
            values = block.attn.out_proj(block.attn.v_proj(block.ln_1(hidden[-2][:, 1:])))
            return self.joint_patches(visual.ln_post(values)).float()

    def joint_words(self, tokens: Tensor) -> Tensor:
        """Word tokens (B, L, W) in the joint space (B, L, D), by the text tower's own projection."""
        return projected_text(self._backbone._text, tokens)

    def tokenize(self, texts: Sequence[str]) -> Tensor:
        """Token ids (B, context_length), int64, padded, on the towers' device."""
        ids: Tensor = self._backbone.tokenize(texts)
        return ids.to(self._backbone.logit_scale.device)

    def text_ends(self, input_ids: Tensor) -> Tensor:
        """The place (B,) of the EOT in token ids (B, L)."""
        ends: Tensor = self._backbone.text_ends(input_ids)
        return ends

    def embed_text(self, input_ids: Tensor) -> Tensor:
        """Input embeddings (B, L, W) of token ids (B, L), without positions."""
        with self._cast():
            embeddings: Tensor = self._backbone.embed_text(input_ids)
        return embeddings

    def text(self, texts: Sequence[str], wants: Wants = POOLED) -> TextFeatures:
        """Features of texts."""
        with self._cast():
            found: TextFeatures = self._backbone.text(self.tokenize(texts), wants)
        found.texts = list(texts)
        return in_float(found)

    def text_from_embeddings(
        self, embeddings: Tensor, ends: Tensor, wants: Wants = POOLED, *, shared: int = 0
    ) -> TextFeatures:
        """Features of texts that are given as embeddings (B, L, W), whose EOT stands at ``ends`` (B,).

        Args:
            shared: so many first embeddings are the same in all texts, and are run once where that is enough.
        """
        with self._cast():
            found: TextFeatures = self._backbone.text_from_embeddings(
                embeddings, ends, wants, length=embeddings.shape[1], shared=shared
            )
        return in_float(found)
