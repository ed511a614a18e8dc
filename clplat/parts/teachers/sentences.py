"""Sentences: what a language model makes of texts, and of what pictures are called."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.functional import normalize

from clplat.data.inputs import Images, Texts
from clplat.errors import UserError
from clplat.extras import named_extras
from clplat.mechanisms.teacher import Predicts
from clplat.models.features import ImageFeatures, TextFeatures, Wants
from clplat.models.outputs import Outputs
from clplat.parts.teachers._base import TeacherPart
from clplat.parts.teachers._rows import NamedRows

__all__ = ["Sentences", "hashed_words"]

#: Width of the stand-in's rows.
WIDTH = 256


class Sentences(TeacherPart):
    """A frozen text encoder, whose embeddings of texts are computed once, also across runs.

    Of a batch, queries are embedded by their texts and candidates by what they show (``batch.labels``): it
    sees no picture. The default is a stand-in that needs no file, `hashed_words`; a real one is a folder that
    transformers wrote.

    Args:
        model: folder of the encoder; None: the stand-in.
        pooling: of the encoder's last states: their ``mean`` over a text, or the ``last``, as of decoders.

    Raises:
        ValueError: there is no such folder.

    References:
        Huang et al. 2024 (LLM2CLIP), arXiv 2411.04997.

    Example:
        >>> Sentences().moves
        False
    """

    def __init__(self, model: str | None = None, pooling: Literal["mean", "last"] = "mean") -> None:
        if model is not None and not Path(model).is_dir():
            raise ValueError(f"there is no folder {model} of a text encoder")
        self.model, self.pooling = model, pooling
        self._encode: Callable[[Sequence[str]], Tensor] | None = None
        self._rows = NamedRows({})

    def begin(self, learner: Predicts) -> None:
        self._ready()

    def _ready(self) -> Callable[[Sequence[str]], Tensor]:
        if self._encode is None:
            self._encode = hashed_words if self.model is None else _encoder(Path(self.model), self.pooling)
            self._rows = NamedRows({"weights": _stamp(self.model), "pooling": self.pooling})
        return self._encode

    @property
    def knows(self) -> bool:
        return True

    def follow(self, learner: Predicts) -> None:
        """Nothing of it changes."""

    def outputs(self, learner: Predicts, batch: Any) -> Outputs:
        count, said = len(batch), batch.text_rows[: len(batch)]
        if -1 in said:
            raise UserError("the teacher 'sentences' takes queries that have a text")
        query = self._embedded(learner, [batch.texts.said[row] for row in said])
        device = next(learner.model.parameters()).device
        candidates = self._embedded(learner, batch.labels)
        assert len(query) == count
        return Outputs(query.to(device), candidates.to(device), torch.tensor(1.0, device=device))

    def text_features(self, learner: Predicts, texts: Texts, wants: Wants) -> TextFeatures:
        if {*wants} != {"pooled"}:
            raise UserError("the teacher 'sentences' has pooled features alone")
        device = next(learner.model.parameters()).device
        return TextFeatures(pooled=self._embedded(learner, texts.said).to(device))

    def image_features(self, learner: Predicts, images: Images, wants: Wants) -> ImageFeatures:
        raise UserError("the teacher 'sentences' sees no pictures")

    def _embedded(self, learner: Predicts, said: Sequence[str]) -> Tensor:
        """Unit rows of texts."""
        encode = self._ready()

        def make(rows: list[int]) -> Tensor:
            with torch.no_grad():
                return normalize(encode([said[row] for row in rows]).float(), dim=-1)

        return self._rows(learner.model, "sentence", said, make)

    def bytes(self) -> int:
        """Those of the rows that it has made; the encoder is in its folder."""
        return self._rows.bytes()

    def state_dict(self) -> dict[str, Any]:
        """Nothing: all of it is made again."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to restore."""


def hashed_words(texts: Sequence[str]) -> Tensor:
    """Texts as signed counts of their words and pairs of words (N, 256): near where they share words.

    Example:
        >>> rows = normalize(hashed_words(["a red shoe", "a red boot", "in blue"]), dim=-1)
        >>> bool(rows[0] @ rows[1] > rows[0] @ rows[2])
        True
    """
    rows = torch.zeros(len(texts), WIDTH)
    for row, text in zip(rows, texts, strict=True):
        words = re.findall(r"\w+", text.lower()) or [text]
        for word in (*words, *map(" ".join, pairwise(words))):
            place = int.from_bytes(hashlib.blake2b(word.encode(), digest_size=4).digest(), "little")
            row[place // 2 % WIDTH] += 1.0 if place % 2 else -1.0
    return rows


def _encoder(folder: Path, pooling: str) -> Callable[[Sequence[str]], Tensor]:
    """Texts -> rows (N, D) of a folder that transformers wrote."""
    with named_extras("a text encoder of transformers"):
        from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    model = AutoModel.from_pretrained(folder).eval().requires_grad_(False)

    def encode(texts: Sequence[str]) -> Tensor:
        read = tokenizer([*texts], padding=True, truncation=True, return_tensors="pt")
        return pooled(model(**read).last_hidden_state, read["attention_mask"], pooling)

    return encode


def pooled(states: Tensor, mask: Tensor, pooling: str) -> Tensor:
    """One row (N, D) of the states (N, L, D) where ``mask`` (N, L) is 1.

    Example:
        >>> states, mask = torch.arange(6.0).reshape(1, 3, 2), torch.tensor([[1, 1, 0]])
        >>> pooled(states, mask, "mean").tolist(), pooled(states, mask, "last").tolist()
        ([[1.0, 2.0]], [[2.0, 3.0]])
    """
    if pooling == "mean":
        return (states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
    places = torch.arange(mask.shape[1], device=mask.device)
    last = (places * mask).argmax(1)
    return states[torch.arange(len(states), device=states.device), last]


def _stamp(model: str | None) -> str:
    """What determines an encoder: the files of its folder, by name, size and time."""
    if model is None:
        return f"hashed words {WIDTH}"
    files = sorted(path for path in Path(model).iterdir() if path.is_file())
    said = [f"{path.name} {path.stat().st_size} {path.stat().st_mtime_ns}" for path in files]
    return hashlib.sha256("\n".join(said).encode()).hexdigest()
