"""The two towers of a CLIP model: pooled features, tokens, hidden layers, embeddings in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from clplat.errors import UserError
from clplat.models.features import ImageFeatures, TextFeatures
from clplat.models.image_tower import image_bottom, image_tower, is_open_image_tower
from clplat.models.loading import Loaded
from clplat.models.text_tower import is_open_text_tower, text_bottom, text_ends, text_tower
from clplat.models.towers import TowerPrompt

__all__ = ["Encoders"]


class Encoders(nn.Module):
    """The forward passes of a `clplat.models.backbone.Backbone`, which holds the weights."""

    text_prompt: TowerPrompt | None
    image_prompt: TowerPrompt | None
    _scale: Tensor
    _shift: Tensor

    def __init__(self, name: str, loaded: Loaded) -> None:
        super().__init__()
        self.name = name
        self.model_cfg = loaded.model_cfg
        self.preprocess_cfg = loaded.preprocess_cfg
        self.embed_dim = int(loaded.model_cfg["embed_dim"])
        size = loaded.preprocess_cfg["size"]
        self.image_size = int(size[0] if isinstance(size, Sequence) else size)
        if isinstance(size, Sequence) and size[0] != size[-1]:
            raise UserError(
                f"backbone '{name}' wants pictures of {size[0]} x {size[-1]}; only squares are supported"
            )
        red, green, blue = (float(value) for value in loaded.preprocess_cfg["mean"])
        self.mean = (red, green, blue)
        red, green, blue = (float(value) for value in loaded.preprocess_cfg["std"])
        self.std = (red, green, blue)
        std = torch.tensor(self.std).view(3, 1, 1)
        self.register_buffer("_scale", 1 / (255 * std), persistent=False)
        self.register_buffer("_shift", -torch.tensor(self.mean).view(3, 1, 1) / std, persistent=False)

        model = loaded.model
        self.model: Any = model
        text = self._text
        open_text, open_image = is_open_text_tower(text), is_open_image_tower(model.visual)
        self.context_length = int(loaded.model_cfg["text_cfg"].get("context_length", 77))
        self.text_width = int(text.positional_embedding.shape[1]) if open_text else self.embed_dim
        self.text_layers = len(text.transformer.resblocks) if open_text else None
        self.image_width = int(model.visual.class_embedding.shape[0]) if open_image else None
        self.image_layers = len(model.visual.transformer.resblocks) if open_image else None
        self.register_module("text_prompt", None)
        self.register_module("image_prompt", None)

    @property
    def logit_scale(self) -> nn.Parameter:
        """The logarithm of the inverse temperature; frozen unless ``requires_grad`` is set."""
        scale: nn.Parameter = self.model.logit_scale
        return scale

    @property
    def _text(self) -> Any:
        return self.model.text if hasattr(self.model, "text") else self.model

    def stages(self, tower: Literal["image", "text"]) -> list[list[tuple[str, nn.Module | Tensor]]]:
        """The named parts of a tower in the order in which they work: entry, each block, exit.

        An opaque tower is one stage. A prompt belongs to the entry.
        """
        top = self.model.visual if tower == "image" else self._text
        parts = {name: part for name, part in top.named_parameters(recurse=False)}
        parts |= dict(top.named_buffers(recurse=False)) | dict(top.named_children())
        for name in ("visual", "logit_scale", "logit_bias") if top is self.model else ():
            parts.pop(name, None)
        prompt = self.image_prompt if tower == "image" else self.text_prompt
        if prompt is not None:
            parts["prompt"] = prompt
        if (self.image_layers if tower == "image" else self.text_layers) is None:
            return [list(parts.items())]
        blocks = [[(f"block {i}", block)] for i, block in enumerate(parts.pop("transformer").resblocks)]
        last = ("ln_post", "proj", "ln_final", "text_projection")
        return [
            [(name, part) for name, part in parts.items() if name not in last],
            *blocks,
            [(name, part) for name, part in parts.items() if name in last],
        ]

    def around(self, tower: Literal["image", "text"]) -> list[tuple[str, nn.Module]]:
        """The modules that hold what `stages` gives, by name: this one, the model, the tower, ..."""
        top = self.model.visual if tower == "image" else self._text
        transformer = getattr(top, "transformer", None)
        found = {"backbone": self, "model": self.model, f"the {tower} tower": top, "transformer": transformer}
        return [(name, module) for name, module in found.items() if isinstance(module, nn.Module)]

    def strays(self, tower: Literal["image", "text"]) -> list[str]:
        """Modules beside the blocks of a transformer, which are part of no stage, in words."""
        if (self.image_layers if tower == "image" else self.text_layers) is None:
            return []
        transformer = (self.model.visual if tower == "image" else self._text).transformer
        names = dict(transformer.named_children()) | dict(transformer.named_parameters(recurse=False))
        return [f"transformer.{name} is beside the blocks" for name in names if name != "resblocks"]

    def image(
        self, pixels: Tensor, *, tokens: bool = False, hidden: bool = False, done: int = 0
    ) -> ImageFeatures:
        """Features of pictures.

        Args:
            pixels: (B, 3, S, S); uint8 is scaled and normalised here, floats are taken as normalised.
            tokens: also the N patch tokens after the final layer norm, (B, N, W).
            hidden: also the output of every block, each (B, 1 + N, W) with the class token first.
            done: blocks that were run already: ``pixels`` is then what `image_bottom` gave.

        Raises:
            UserError: wrong size or type; ``tokens`` or ``hidden`` of an opaque tower.
        """
        if done:
            return image_tower(self.model.visual, pixels, None, tokens=tokens, hidden=hidden, done=done)
        pixels = self._normalised(pixels)
        if self.image_layers is None:
            self._refuse("image", tokens=tokens, hidden=hidden, prompt=self.image_prompt)
            return ImageFeatures(self.model.encode_image(pixels, normalize=False))
        return image_tower(self.model.visual, pixels, self.image_prompt, tokens=tokens, hidden=hidden)

    def image_bottom(self, pixels: Tensor, blocks: int) -> Tensor:
        """The output (B, 1 + N, W) of the first blocks for pictures, for `image` to go on from later.

        Args:
            pixels: as in `image`.
            blocks: how many are run, from 1 to ``image_layers``.

        Raises:
            UserError: an opaque tower, or one with a prompt.
        """
        self._refuse("image", blocks=self.image_layers is None, prompt=self.image_prompt)
        return image_bottom(self.model.visual, self._normalised(pixels), blocks)

    def _normalised(self, pixels: Tensor) -> Tensor:
        size = self.image_size
        if pixels.dim() != 4 or tuple(pixels.shape[1:]) != (3, size, size):
            raise UserError(
                f"pixels are {tuple(pixels.shape)}, backbone '{self.name}' wants (B, 3, {size}, {size})"
            )
        dtype = self.logit_scale.dtype
        if pixels.dtype == torch.uint8:
            pixels = torch.addcmul(self._shift.to(dtype), pixels.to(dtype), self._scale.to(dtype))
        elif not pixels.is_floating_point():
            raise UserError(f"pixels are {pixels.dtype}; uint8 or floats are allowed")
        return pixels.to(dtype)

    def text(
        self, input_ids: Tensor, *, tokens: bool = False, hidden: bool = False, length: int | None = None
    ) -> TextFeatures:
        """Features of texts, computed up to the longest text of the batch (lossless, several times faster).

        Args:
            input_ids: (B, L) as from `tokenize`.
            tokens: also the word tokens after the final layer norm, (B, L', W), L' the longest text.
            hidden: also the output of every block, each (B, L', W).
            length: computed up to here instead, no less than the longest text with its EOT: a caller that
                knows it spares a GPU the wait, and gets bits that do not depend on the other texts.
        """
        if input_ids.dim() != 2 or input_ids.shape[1] > self.context_length:
            raise UserError(f"input_ids are {tuple(input_ids.shape)}, not (B, at most {self.context_length})")
        if self.text_layers is None:
            self._refuse("text", tokens=tokens, hidden=hidden, prompt=self.text_prompt)
            return TextFeatures(self.model.encode_text(input_ids, normalize=False), input_ids=input_ids)
        ends = self.text_ends(input_ids)
        length = int(ends.max()) + 1 if length is None else length
        embeddings = self.embed_text(input_ids[:, :length])
        features = text_tower(
            self._text, embeddings, ends, self.text_prompt, tokens=tokens, hidden=hidden, length=length
        )
        features.input_ids = input_ids
        return features

    def text_ends(self, input_ids: Tensor) -> Tensor:
        """The place (B,) of the EOT in token ids (B, L)."""
        self._refuse("text", ends=self.text_layers is None)
        return text_ends(self._text, input_ids)

    def text_bottom(self, input_ids: Tensor, blocks: int, length: int) -> Tensor:
        """The output (B, length, W) of the first blocks for texts; `text_from_embeddings` goes on from it.

        Raises:
            UserError: an opaque tower, or one with a prompt.
        """
        self._refuse("text", blocks=self.text_layers is None, prompt=self.text_prompt)
        return text_bottom(self._text, self.embed_text(input_ids[:, :length]), blocks)

    def embed_text(self, input_ids: Tensor) -> Tensor:
        """Input embeddings (B, L, W) of token ids (B, L), without positions."""
        self._refuse("text", embeddings=self.text_layers is None)
        embeddings: Tensor = self._text.token_embedding(input_ids)
        return embeddings

    def text_from_embeddings(
        self,
        embeddings: Tensor,
        ends: Tensor,
        *,
        tokens: bool = False,
        hidden: bool = False,
        length: int | None = None,
        done: int = 0,
    ) -> TextFeatures:
        """Features of texts that are given as embeddings, as pseudo-words are.

        Args:
            embeddings: (B, L, W) without positions, the first token the SOS.
            ends: (B,), the place of the EOT. The result's ``ends`` is smaller where a prompt left no room.
            length: as in `text`.
            done: blocks that were run already: ``embeddings`` is then what `text_bottom` gave.
        """
        self._refuse("text", embeddings=self.text_layers is None)
        if embeddings.shape[1] > self.context_length:
            raise UserError(
                f"texts of {embeddings.shape[1]} embeddings; the context holds {self.context_length}"
            )
        prompt = None if done else self.text_prompt
        return text_tower(
            self._text, embeddings, ends, prompt, tokens=tokens, hidden=hidden, length=length, done=done
        )

    def _refuse(self, tower: str, **requested: object) -> None:
        """An opaque tower gives pooled features only."""
        wanted = [name for name, value in requested.items() if value is not None and value is not False]
        if wanted:
            raise UserError(
                f"the {tower} tower of backbone '{self.name}' is not a standard CLIP transformer: it has no "
                f"{', '.join(wanted)} here, only pooled features"
            )
