"""The two towers of a CLIP model: pooled features, tokens, hidden layers, embeddings in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from clplat.errors import UserError, unknown_name
from clplat.flops import note_pass
from clplat.models.adapters import AdapterState
from clplat.models.features import POOLED, ImageFeatures, TextFeatures, Wants, checked_wants, given
from clplat.models.image_tower import image_bottom, image_tower, is_open_image_tower, normalised
from clplat.models.prompt import TowerPrompt, run_prompted
from clplat.models.readout import needed_of, read_out
from clplat.models.stages import Tower
from clplat.models.text_tails import text_with_tails
from clplat.models.text_tower import is_open_text_tower, text_bottom, text_ends, text_tower

if TYPE_CHECKING:
    from clplat.models.loading import Loaded

__all__ = ["Encoders"]


class Encoders(nn.Module):
    """The forward passes of a `clplat.models.backbone.Backbone`, which holds the weights."""

    text_prompt: TowerPrompt | None
    image_prompt: TowerPrompt | None
    prompts: nn.ModuleDict
    readouts: nn.ModuleDict
    adapters: AdapterState
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
            sides = f"{size[0]} x {size[-1]}"
            raise UserError(f"backbone '{name}' wants pictures of {sides}; only squares are supported")
        red, green, blue = (float(value) for value in loaded.preprocess_cfg["mean"])
        self.mean = (red, green, blue)
        red, green, blue = (float(value) for value in loaded.preprocess_cfg["std"])
        self.std = (red, green, blue)
        std = torch.tensor(self.std).view(3, 1, 1)
        self.register_buffer("_scale", 1 / (255 * std), persistent=False)
        self.register_buffer("_shift", -torch.tensor(self.mean).view(3, 1, 1) / std, persistent=False)

        self.model: Any = (model := loaded.model)
        text = self._text
        open_text, open_image = is_open_text_tower(text), is_open_image_tower(model.visual)
        self.context_length = int(loaded.model_cfg["text_cfg"].get("context_length", 77))
        self.text_width = int(text.positional_embedding.shape[1]) if open_text else self.embed_dim
        self.text_layers = len(text.transformer.resblocks) if open_text else None
        self.image_width = int(model.visual.class_embedding.shape[0]) if open_image else None
        self.image_layers = len(model.visual.transformer.resblocks) if open_image else None
        self.register_module("text_prompt", None)
        self.register_module("image_prompt", None)
        self.prompts = nn.ModuleDict()
        self.readouts = nn.ModuleDict()
        self.adapters = AdapterState()

    def keep_prompts(self, name: str) -> list[str]:
        """Keep what prompts the towers under a name, in `prompts`; it stays in use, those before are frozen.

        Returns:
            The names of its tensors that are trained.

        Raises:
            UserError: the name is taken, or no tower is prompted.
        """
        attached = {"text": self.text_prompt, "image": self.image_prompt}
        held = {tower: prompt for tower, prompt in attached.items() if prompt is not None}
        if name in self.prompts or not held:
            raise UserError(f"prompts '{name}' are kept already" if held else "no tower is prompted")
        self.prompts.requires_grad_(False)
        self.prompts[name] = nn.ModuleDict(held)
        self.use_prompts(name)
        own = self.prompts[name].named_parameters(f"prompts.{name}")
        return [key for key, parameter in own if parameter.requires_grad]

    def use_prompts(self, name: str | None) -> None:
        """Prompt the towers by what was kept under this name, or, with None, not at all."""
        if name is not None and name not in self.prompts:
            raise unknown_name("prompts", name, self.prompts)
        held: Any = dict(self.prompts[name].named_children()) if name is not None else {}
        for tower in ("text", "image"):
            self.register_module(f"{tower}_prompt", None)
            # No submodule: its tensors have one name each, that in `prompts`.
            self.__dict__[f"{tower}_prompt"] = held.get(tower)

    @property
    def logit_scale(self) -> nn.Parameter:
        """The logarithm of the inverse temperature; frozen unless ``requires_grad`` is set."""
        scale: nn.Parameter = self.model.logit_scale
        return scale

    @property
    def _text(self) -> Any:
        return self.model.text if hasattr(self.model, "text") else self.model

    def image(
        self,
        pixels: Tensor,
        wants: Wants = POOLED,
        *,
        own: ImageFeatures | None = None,
        raw: bool = False,
        bare: bool = False,
        done: int = 0,
    ) -> ImageFeatures:
        """Features of pictures.

        Args:
            pixels: (B, 3, S, S); uint8 is scaled and normalised here, floats are taken as normalised.
            wants: what is computed, names in `clplat.models.features.WANTS`.
            own: what the prompt wants of the bare tower, where that is known; computed otherwise.
            raw: without the readout; bare: without the prompt either.
            done: blocks that were run already: ``pixels`` is then what `image_bottom` gave. A prompt enters
                above them, or is left out with ``bare``.

        Raises:
            UserError: wrong size or type; an unknown name; more than ``pooled`` of an opaque tower.
        """
        raw = raw or bare
        needed = checked_wants(wants) if raw else needed_of(self, "image", wants)
        found, prompt = ImageFeatures(), None if bare else self.image_prompt
        if prompt is not None:
            if prompt.wants and own is None:
                own = self.image(pixels, prompt.wants, bare=True, done=done)
            prompt = prompt.begin(own)
        if needed - {"input"}:
            x = pixels if done else self._normalised(pixels)
            if self.image_layers is None:
                self._refuse_wants("image", needed, prompt)
                found.pooled = self.model.encode_image(x, normalize=False)
                note_pass("image", given(found))
            else:
                found = run_prompted(lambda one: self._image(x, one, needed, done), prompt)
        found.pixels = pixels if "input" in needed and not done else None
        if not raw:
            read_out(self, found, wants)
        return found

    def _image(
        self, x: Tensor, prompt: TowerPrompt | None, wants: frozenset[str], done: int
    ) -> ImageFeatures:
        found = image_tower(self.model.visual, x, prompt, wants, done)
        note_pass("image", given(found))
        return found

    def image_bottom(self, pixels: Tensor, blocks: int, *, bare: bool = False) -> Tensor:
        """The output (B, 1 + N, W) of the first blocks for pictures, for `image` to go on from later.

        Args:
            bare: without the prompt, which is what a prompt that depends on its input looks at.

        Raises:
            UserError: an opaque tower, or one with a prompt that counts.
        """
        prompt = _above(blocks, None if bare else self.image_prompt)
        self._refuse("image", blocks=self.image_layers is None, prompt=prompt)
        return image_bottom(self.model.visual, self._normalised(pixels), blocks)

    def _normalised(self, pixels: Tensor) -> Tensor:
        dtype = self.logit_scale.dtype
        return normalised(pixels, self.image_size, self.name, self._scale.to(dtype), self._shift.to(dtype))

    def text(
        self,
        input_ids: Tensor,
        wants: Wants = POOLED,
        *,
        own: TextFeatures | None = None,
        other: ImageFeatures | None = None,
        raw: bool = False,
        bare: bool = False,
        length: int | None = None,
    ) -> TextFeatures:
        """Features of texts, computed up to the longest text of the batch (lossless, several times faster).

        Args:
            input_ids: (B, L) as from `tokenize`.
            wants, own, raw, bare: as in `image`; ``tokens`` are (B, L', W), L' the longest text.
            other: for the prompt, features of the picture that each text modifies.
            length: computed up to here instead, no less than the longest text with its EOT: a caller that
                knows it spares a GPU the wait, and gets bits that do not depend on the other texts.
        """
        if input_ids.dim() != 2 or input_ids.shape[1] > self.context_length:
            raise UserError(f"input_ids are {tuple(input_ids.shape)}, not (B, at most {self.context_length})")
        raw = raw or bare
        needed = checked_wants(wants) if raw else needed_of(self, "text", wants)
        if not needed - {"input"}:
            return TextFeatures(input_ids=input_ids)
        if self.text_layers is None:
            self._refuse_wants("text", needed, None if bare else self.text_prompt)
            found = TextFeatures(pooled=self.model.encode_text(input_ids, normalize=False))
            note_pass("text", given(found))
        else:
            ends = self.text_ends(input_ids)
            length = int(ends.max()) + 1 if length is None else length
            embeddings = self.embed_text(input_ids[:, :length], bare=bare)
            found = self.text_from_embeddings(
                embeddings, ends, needed, own=own, other=other, raw=True, bare=bare, length=length
            )
        found.input_ids = input_ids
        if not raw:
            read_out(self, found, wants)
        return found

    def text_ends(self, input_ids: Tensor) -> Tensor:
        """The place (B,) of the EOT in token ids (B, L)."""
        self._refuse("text", ends=self.text_layers is None)
        return text_ends(self._text, input_ids)

    def text_bottom(self, input_ids: Tensor, blocks: int, length: int, *, bare: bool = False) -> Tensor:
        """The output (B, length, W) of the first blocks for texts; `text_from_embeddings` goes on from it.

        Args:
            bare: as in `image_bottom`.

        Raises:
            UserError: an opaque tower, or one with a prompt that counts.
        """
        prompt = _above(blocks, None if bare else self.text_prompt)
        self._refuse("text", blocks=self.text_layers is None, prompt=prompt)
        return text_bottom(self._text, self.embed_text(input_ids[:, :length], bare=bare), blocks)

    def embed_text(self, input_ids: Tensor, *, bare: bool = False) -> Tensor:
        """Input embeddings (B, L, W) of token ids (B, L), without positions.

        Args:
            bare: those of the model, whatever a prompt puts in their place.
        """
        self._refuse("text", embeddings=self.text_layers is None)
        embeddings: Tensor = self._text.token_embedding(input_ids)
        prompt = None if bare else self.text_prompt
        return embeddings if prompt is None else prompt.embed(input_ids, embeddings)

    def text_from_embeddings(
        self,
        embeddings: Tensor,
        ends: Tensor,
        wants: Wants = POOLED,
        *,
        own: TextFeatures | None = None,
        other: ImageFeatures | None = None,
        raw: bool = False,
        bare: bool = False,
        length: int | None = None,
        done: int = 0,
        shared: int = 0,
    ) -> TextFeatures:
        """Features of texts that are given as embeddings, as pseudo-words are.

        Args:
            embeddings: (B, L, W) without positions, the first token the SOS.
            ends: (B,), the place of the EOT. The result's ``ends`` is smaller where a prompt left no room.
            wants, own, other, raw, bare, length: as in `text`.
            done: blocks that were run already: ``embeddings`` is then what `text_bottom` gave; as in `image`.
            shared: so many first embeddings are those of the first text in all of them, and are run once.
        """
        self._refuse("text", embeddings=self.text_layers is None)
        if embeddings.shape[1] > self.context_length:
            raise UserError(
                f"texts of {embeddings.shape[1]} embeddings; the context holds {self.context_length}"
            )
        raw = raw or bare
        needed = checked_wants(wants) if raw else needed_of(self, "text", wants)
        prompt = None if bare else self.text_prompt
        if prompt is not None:
            if prompt.wants and own is None:
                own = self.text_from_embeddings(
                    embeddings, ends, prompt.wants, bare=True, length=length, done=done
                )
            prompt = prompt.begin(own, other)

        def read(one: TowerPrompt | None) -> TextFeatures:
            return self._read(embeddings, ends, one, needed, length=length, done=done, shared=shared)

        found = run_prompted(read, prompt)
        if "sets" in needed and found.sets is None:
            found.sets = found.pooled[:, None]
        if not raw:
            read_out(self, found, wants)
        return found

    def _read(
        self,
        x: Tensor,
        ends: Tensor,
        prompt: TowerPrompt | None,
        wants: frozenset[str],
        *,
        length: int | None,
        done: int,
        shared: int,
    ) -> TextFeatures:
        if prompt is not None and prompt.tails() is not None:
            found = text_with_tails(self._text, x, ends, prompt, wants, length=length)
        else:
            found = text_tower(self._text, x, ends, prompt, wants, length=length, done=done, shared=shared)
        note_pass("text", given(found))
        return found

    def _refuse_wants(self, tower: Tower, wants: frozenset[str], prompt: object) -> None:
        self._refuse(tower, **dict.fromkeys(sorted(wants - {"pooled", "input"}), True), prompt=prompt)

    def _refuse(self, tower: str, **requested: object) -> None:
        """An opaque tower gives pooled features only."""
        if wanted := [name for name, value in requested.items() if value not in (None, False)]:
            raise UserError(
                f"the {tower} tower of backbone '{self.name}' is not a standard CLIP transformer: it has no "
                f"{', '.join(wanted)} here, only pooled features"
            )


def _above(blocks: int, prompt: TowerPrompt | None) -> TowerPrompt | None:
    """The prompt, unless the first ``blocks`` do not see it."""
    return None if prompt is None or blocks <= prompt.lowest else prompt
