"""Any open_clip model behind one interface: pooled features, tokens, hidden layers, embeddings in."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from clplat.errors import UserError
from clplat.files import write_json
from clplat.models import loading
from clplat.models.attention import merge_state_dict, split_attention, split_state_dict
from clplat.models.encoders import Encoders
from clplat.models.hashes import Hashes
from clplat.models.stages import Tower, stages
from clplat.models.tokenizer import Tokenizer
from clplat.trees import save_tensors

__all__ = ["Backbone"]

#: The largest model of which an untouched copy stays in memory.
_KEPT_BYTES = 1 << 30


class Backbone(Encoders):
    """A CLIP model whose attention is split into q/k/v/out layers and whose weights are all frozen.

    Made by `load` or `random`, not by the constructor. Features are not normalised.

    Attributes:
        name: as requested; embed_dim: width D of the joint space; image_size: pixels per side.
        mean, std: of the three colours, applied to uint8 pixels.
        preprocess_cfg: open_clip's whole preprocessing (interpolation, resize mode, ...).
        text_layers, image_layers: number of blocks, None for an opaque tower, which has pooled features only.
        text_prompt, image_prompt: what a prompt learner installed.
        prompts: what was kept under names (`keep_prompts`), of which one is in use at a time.
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
        >>> backbone.text(backbone.tokenize(["a red shoe"]), {"tokens"}).tokens.shape
        torch.Size([1, 5, 32])
    """

    def __init__(self, name: str, loaded: loading.Loaded) -> None:
        super().__init__(name, loaded)
        self._attention = split_attention(self.model)
        self.base_keys = frozenset(self.model.state_dict())
        self._tokenizer = Tokenizer(loaded.tokenizer, self.context_length)
        self.hashes = Hashes()
        self.requires_grad_(False).eval()

    @classmethod
    def load(cls, name: str, pretrained: str | None = None) -> Backbone:
        """Load a model with its weights; nothing is ever silently random.

        Args:
            name: ``"clplat-tiny"`` (shipped), a folder of open_clip or of transformers' CLIP and SigLIP
                (``"./folder"``, ``"local-dir:<folder>"``), ``"hf-hub:<owner>/<name>"``, or a name that
                open_clip knows.
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

    def tokenize(self, texts: Sequence[str]) -> Tensor:
        """Token ids (B, context_length), int64, padded; longer texts are cut, see `truncated`."""
        if isinstance(texts, str):
            raise UserError("tokenize takes a list of texts, not one text")
        return self._tokenizer.ids(texts)

    def truncated(self, texts: Sequence[str], places: int = 0) -> list[int]:
        """Indices of the texts that lose words: longer than the context, less the places of a text prompt.

        Args:
            places: of the context that are taken otherwise, as by a composer's template.
        """
        taken = places + (self.text_prompt.length if self.text_prompt is not None else 0)
        room = self.context_length - taken
        doubtful = [i for i, text in enumerate(texts) if not self._tokenizer.surely_fits(text, room)]
        lengths = self._tokenizer.lengths([texts[i] for i in doubtful])
        return [i for i, length in zip(doubtful, lengths, strict=True) if length > room]

    def lengths(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, its special ones included, however long."""
        return self._tokenizer.lengths(texts)

    def tower_parameters(self, tower: Tower) -> list[nn.Parameter]:
        """The parameters that only this tower has, with the adapters around its layers and its prompt.

        What was hung beside the layers of the model, or serves both towers, belongs to none.
        """
        other = {id(p) for p in self._parameters_of("text" if tower == "image" else "image")}
        return [p for p in self._parameters_of(tower) if id(p) not in other]

    def _parameters_of(self, tower: Tower) -> list[nn.Parameter]:
        top = "visual." if tower == "image" else "text." if hasattr(self.model, "text") else ""
        own = {key.removeprefix(top).split(".")[0] for key in self.base_keys if key.startswith(top)}
        parts = [
            part
            for stage in stages(self, tower)
            for name, part in stage
            if name in own or name == "prompt" or name.startswith("block ")
        ]
        found = [list(part.parameters()) if isinstance(part, nn.Module) else [part] for part in parts]
        return [p for some in found for p in some if isinstance(p, nn.Parameter)]

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
            half: store 16-bit floats, half the size; they are loaded as 32-bit floats.

        Raises:
            UserError: an adapter is attached and not merged, or a prompt is: the folder could not hold it.
        """
        if self.adapters.installed:
            names = ", ".join(self.adapters.installed)
            raise UserError(f"adapters are attached ({names}): merge one first, or save the adapter itself")
        if self.text_prompt is not None or self.image_prompt is not None or len(self.prompts):
            raise UserError("a prompt is attached, which an open_clip folder cannot hold")
        state = {
            key: (tensor.half() if half and tensor.is_floating_point() else tensor)
            .detach()
            .cpu()
            .contiguous()
            for key, tensor in self.stock_state_dict().items()
        }
        folder = Path(folder)
        save_tensors(folder / loading.WEIGHTS, state, {"format": "pt"})
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
        for name in self.adapters.together:
            tensors |= {f"adapter/{key}": t for key, t in self.adapter_state(name).items()}
        for kind in ("text_prompt", "image_prompt"):
            prompt = getattr(self, kind)
            if prompt is not None:
                tensors |= {f"{kind}/{key}": tensor for key, tensor in prompt.state_dict().items()}
        for key in sorted(tensors):
            digest.update(f"{key} {self.hashes.digest(tensors[key])}\n".encode())
        return digest.hexdigest()

    def adapter_state(self, name: str) -> dict[str, Tensor]:
        """All tensors of the attached adapter ``name``, by their full names in the model (not copied)."""
        inside = {
            key: t
            for key, t in self.model.state_dict().items()
            if not self.base_key(key) and name in key.split(".")
        }
        readouts = self.readouts[name].state_dict() if name in self.readouts else {}
        return inside | {f"readouts.{key}": t for key, t in readouts.items()}

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


@lru_cache(maxsize=1)
def _loaded(name: str, pretrained: str | None, stamp: tuple[Any, ...]) -> Backbone:
    with torch.random.fork_rng(devices=[]):
        return Backbone(name, loading.load(name, pretrained))
