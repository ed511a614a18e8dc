"""Any open_clip model behind one interface: pooled features, tokens, hidden layers, embeddings in."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from clplat.errors import UserError
from clplat.files import write_atomically, write_json
from clplat.models import loading
from clplat.models.adapters import AdapterState
from clplat.models.attention import merge_state_dict, split_attention, split_state_dict
from clplat.models.features import ImageFeatures, TextFeatures
from clplat.models.hashes import Hashes
from clplat.models.image_tower import image_bottom, image_tower, is_open_image_tower
from clplat.models.text_tower import is_open_text_tower, text_bottom, text_ends, text_tower
from clplat.models.tokenizer import Tokenizer
from clplat.models.towers import TowerPrompt

__all__ = ["Backbone"]

#: The largest model of which an untouched copy stays in memory.
_KEPT_BYTES = 1 << 30


class Backbone(nn.Module):
    """A CLIP model whose attention is split into q/k/v/out layers and whose weights are all frozen.

    Made by `load` or `random`, not by the constructor. Features are not normalised.

    Attributes:
        name: as asked for; embed_dim: width D of the joint space; image_size: pixels a side.
        mean, std: of the three colours, applied to uint8 pixels.
        preprocess_cfg: open_clip's whole preprocessing (interpolation, resize mode, ...).
        text_layers, image_layers: number of blocks, None for an opaque tower, which has pooled features only.
        text_prompt, image_prompt: what a prompt learner installed.
        adapters: the state of the weight adapters around the layers.
        base_keys: names of the base tensors in ``model``, without adapters.

    Example:
        >>> tower = {"layers": 2, "width": 32}
        >>> config = {
        ...     "embed_dim": 16,
        ...     "vision_cfg": {**tower, "image_size": 16, "patch_size": 8, "head_width": 16},
        ...     "text_cfg": {**tower, "context_length": 12, "heads": 2},
        ... }
        >>> backbone = Backbone.random(config, seed=0)
        >>> backbone.image(torch.zeros(2, 3, 16, 16, dtype=torch.uint8)).pooled.shape
        torch.Size([2, 16])
        >>> backbone.text(backbone.tokenize(["a red shoe"]), tokens=True).tokens.shape
        torch.Size([1, 5, 32])
    """

    text_prompt: TowerPrompt | None
    image_prompt: TowerPrompt | None
    _scale: Tensor
    _shift: Tensor

    def __init__(self, name: str, loaded: loading.Loaded) -> None:
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
        self._attention = split_attention(model)
        self.base_keys = frozenset(model.state_dict())
        text = self._text
        open_text, open_image = is_open_text_tower(text), is_open_image_tower(model.visual)
        self.context_length = int(loaded.model_cfg["text_cfg"].get("context_length", 77))
        self._tokenizer = Tokenizer(loaded.tokenizer, self.context_length)
        self.text_width = int(text.positional_embedding.shape[1]) if open_text else self.embed_dim
        self.text_layers = len(text.transformer.resblocks) if open_text else None
        self.image_width = int(model.visual.class_embedding.shape[0]) if open_image else None
        self.image_layers = len(model.visual.transformer.resblocks) if open_image else None
        self.register_module("text_prompt", None)
        self.register_module("image_prompt", None)
        self.hashes = Hashes()
        self.adapters = AdapterState()
        self.requires_grad_(False).eval()

    @classmethod
    def load(cls, name: str, pretrained: str | None = None) -> Backbone:
        """Load a model with its weights; nothing is ever silently random.

        Args:
            name: ``"clplat-tiny"`` (shipped), ``"local-dir:<folder>"``, or a name that open_clip knows.
            pretrained: for open_clip's names, a pretrained tag or the path of a weights file.

        Raises:
            UserError: unknown name or tag; missing, damaged or unfitting weights.
        """
        # The trials of a study load the same weights over and over: one copy stays, and what is known of it.
        stamp = loading.stamp(name)
        loaded = _loaded(name, pretrained, stamp)
        size = sum(tensor.nbytes for tensor in loaded.base_state().values())
        if not stamp or size > _KEPT_BYTES:
            _loaded.cache_clear()
            return loaded
        backbone = copy.deepcopy(loaded)
        own = backbone.base_state()
        for key, tensor in loaded.base_state().items():
            backbone.hashes.remember(own[key], loaded.hashes.digest(tensor))
        return backbone

    @classmethod
    def random(cls, config: Mapping[str, Any], seed: int) -> Backbone:
        """Build a model with random weights, for pretraining, tests and benchmarks.

        Args:
            config: open_clip's ``model_cfg``, or ``{"model_cfg": ..., "preprocess_cfg": ...}``.
            seed: of the weights; torch's generators stay as they were.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            loaded = loading.build(
                config.get("model_cfg", config),
                config.get("preprocess_cfg", {}),
                "the backbone's configuration",
            )
            return cls("random", loaded)

    @property
    def logit_scale(self) -> nn.Parameter:
        """The logarithm of the inverse temperature; frozen unless somebody sets ``requires_grad``."""
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
        """Features of texts that are given as embeddings: the door of pseudo-words.

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

    def tokenize(self, texts: Sequence[str]) -> Tensor:
        """Token ids (B, context_length), int64, padded; longer texts are cut, see `truncated`."""
        if isinstance(texts, str):
            raise UserError("tokenize takes a list of texts, not one text")
        return self._tokenizer.ids(texts)

    def truncated(self, texts: Sequence[str]) -> list[int]:
        """Indices of the texts that lose words: longer than the context, less the places of a text prompt."""
        room = self.context_length - (self.text_prompt.length if self.text_prompt is not None else 0)
        return [i for i, length in enumerate(self._tokenizer.lengths(texts)) if length > room]

    def stock_state_dict(self) -> dict[str, Tensor]:
        """The base weights under open_clip's own keys; of adapters and prompts nothing."""
        return merge_state_dict(self.base_state(), self._attention)

    def load_stock_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Copy weights with open_clip's own keys, as from `stock_state_dict`, into the base."""
        own = self.base_state()
        given = split_state_dict(state, self._attention)
        wrong = sorted(own.keys() ^ given.keys()) or [k for k in own if own[k].shape != given[k].shape]
        if wrong:
            raise UserError(f"these weights do not fit backbone '{self.name}': {wrong[0]}")
        with torch.no_grad():
            for key, tensor in own.items():
                tensor.copy_(given[key])

    def save(self, folder: Path, half: bool = False) -> None:
        """Write a folder that ``open_clip.create_model("local-dir:<folder>")`` and `load` read.

        Args:
            half: store 16-bit floats, half the size; whoever loads them computes in 32 bits.

        Raises:
            UserError: an adapter is attached and not merged, or a prompt is: the folder could not hold it.
        """
        if self.adapters.installed:
            names = ", ".join(self.adapters.installed)
            raise UserError(f"adapters are attached ({names}): merge one first, or save the adapter itself")
        if self.text_prompt is not None or self.image_prompt is not None:
            raise UserError("a prompt is attached, which an open_clip folder cannot hold")
        state = {
            key: (tensor.half() if half and tensor.is_floating_point() else tensor)
            .detach()
            .cpu()
            .contiguous()
            for key, tensor in self.stock_state_dict().items()
        }
        folder = Path(folder)
        write_atomically(folder / loading.WEIGHTS, lambda path: save_file(state, path))
        write_json(
            folder / loading.CONFIG, {"model_cfg": self.model_cfg, "preprocess_cfg": self.preprocess_cfg}
        )
        if self.model_cfg["text_cfg"].get("hf_tokenizer_name"):
            self._tokenizer.save(folder)

    def fingerprint(self) -> str:
        """SHA-256 of all that determines the output: configuration, preprocessing, tokenizer, every tensor,
        the active adapter and the prompts. The name and where the weights came from do not count."""
        digest = hashlib.sha256()
        text_cfg = self.model_cfg["text_cfg"]
        header = {
            "model_cfg": self.model_cfg,
            "preprocess_cfg": self.preprocess_cfg,
            "tokenizer": text_cfg.get("hf_tokenizer_name") or f"clip-bpe/{self.context_length}",
            "adapter": self.adapters.installed.get(self.adapters.active or ""),
        }
        digest.update(json.dumps(header, sort_keys=True).encode())
        tensors = {f"base/{key}": tensor for key, tensor in self.base_state().items()}
        if self.adapters.active is not None:
            tensors |= {f"adapter/{key}": t for key, t in self.adapter_state(self.adapters.active).items()}
        for kind in ("text_prompt", "image_prompt"):
            prompt = getattr(self, kind)
            if prompt is not None:
                tensors |= {f"{kind}/{key}": tensor for key, tensor in prompt.state_dict().items()}
        for key in sorted(tensors):
            digest.update(f"{key} {self.hashes.digest(tensors[key])}\n".encode())
        return digest.hexdigest()

    def adapter_state(self, name: str) -> dict[str, Tensor]:
        """All tensors of the attached adapter ``name``, by their full names in the model (not copied)."""
        return {
            key: t
            for key, t in self.model.state_dict().items()
            if not self.base_key(key) and name in key.split(".")
        }

    def base_key(self, key: str) -> str | None:
        """The name that a tensor of ``model`` has without adapters; None for the tensors of adapters."""
        plain = self.adapters.base_key(key)
        return plain if plain in self.base_keys else None

    def base_state(self) -> dict[str, Tensor]:
        """The base weights under the names they have without adapters, attention split (not copied)."""
        return {
            plain: t
            for key, t in self.model.state_dict().items()
            if (plain := self.base_key(key)) is not None
        }

    def _refuse(self, tower: str, **asked: object) -> None:
        """An opaque tower gives pooled features only."""
        wanted = [name for name, value in asked.items() if value is not None and value is not False]
        if wanted:
            raise UserError(
                f"the {tower} tower of backbone '{self.name}' is not a standard CLIP transformer: it has no "
                f"{', '.join(wanted)} here, only pooled features"
            )


@lru_cache(maxsize=1)
def _loaded(name: str, pretrained: str | None, stamp: tuple[Any, ...]) -> Backbone:
    with torch.random.fork_rng(devices=[]):
        return Backbone(name, loading.load(name, pretrained))
