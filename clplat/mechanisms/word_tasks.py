"""What a map to pseudo-words is trained on beside pictures: phrases, captions alone, text triplets."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor

from clplat.config.space import Float
from clplat.mechanisms.pseudo_words import Sentences, joint_nce
from clplat.mechanisms.word_maps import Words
from clplat.mechanisms.words import tagged
from clplat.models.view import Towers

__all__ = [
    "Tasks",
    "masked_phrases",
    "noisy",
    "reconstruction",
    "semantic",
    "subject_and_rest",
    "text_triplets",
    "uncrossed",
]

_DETERMINER = re.compile(
    r"an?|the|th(is|at|ese|ose)|some|any|no|every|each|all|both|another|its|his|her|my|your|our|their"
)


@dataclass(frozen=True)
class Tasks:
    """What a map is trained on, each with a weight; 0: not at all.

    Args:
        phrases: phrases about a picture's concepts, with the word in the concept's place (SEARLE).
        language: captions alone, of which the words make their nouns again (LinCIR).
        triplets: captions of reference and answer with the text between them (RTD): trains the text tower.
        told: the contrastive loss of queries and captions of their answers (MCL).
        semantic: a caption's subject and the rest, with words in the place of either (FTI4CIR).
        orthogonal: parts that words come from differ (FTI4CIR).
        joint: contrastive losses of pictures have negatives on their own side too.
        temperature: of these losses; 0: the model's own scale.
        noise: on features of captions that words are made of, see `noisy`.

    Raises:
        ValueError: a number below 0.
    """

    phrases: Annotated[float, Float(0.0, 2.0)] = 0.0
    language: float = 0.0
    triplets: float = 0.0
    told: float = 0.0
    semantic: Annotated[float, Float(0.0, 2.0)] = 0.0
    orthogonal: float = 0.0
    joint: bool = False
    temperature: float = 0.0
    noise: Annotated[float, Float(0.0, 2.0)] = 1.0

    def __post_init__(self) -> None:
        for field in fields(self):
            if not getattr(self, field.name) >= 0:
                raise ValueError(f"tasks.{field.name} must be at least 0, not {getattr(self, field.name)}")

    @property
    def names(self) -> tuple[str, ...]:
        """Those with a weight."""
        every = ("phrases", "language", "triplets", "told", "semantic", "orthogonal")
        return tuple(name for name in every if getattr(self, name))


def masked_phrases(caption: str) -> str:
    """A caption with ``*`` in place of every run of nouns, adjectives and determiners.

    A caption without one is "a photo of *".

    Example:
        >>> masked_phrases("a red dress with long sleeves")
        '* with *'
    """
    made, inside, end = "", False, 0
    for word in tagged(caption.replace("*", " ")):
        kept = word.kind in ("noun", "adjective") or _DETERMINER.fullmatch(word.lower) is not None
        space = " " if made and word.start > end else ""
        if not (kept and inside):
            made += space + ("*" if kept else word.said)
        inside, end = kept, word.end
    return made if "*" in made else "a photo of *"


def subject_and_rest(caption: str) -> tuple[str, str]:
    """A caption up to its first noun, and what follows it; of fewer than four words both are all of it.

    Example:
        >>> subject_and_rest("a red dress with long sleeves")
        ('a red dress', 'with long sleeves')
    """
    words = tagged(caption)
    if len(words) < 4:
        return caption, caption
    end = next((word.end for word in words if word.kind == "noun"), words[0].end)
    first, rest = caption[:end], caption[end:].strip()
    return first, rest or first


def noisy(pooled: Tensor, size: float) -> Tensor:
    """Features (B, D) with normal noise, in each row of a deviation drawn evenly from [0, size].

    Reference:
        Gu et al., "Language-only Training of Zero-shot Composed Image Retrieval", CVPR 2024,
        arXiv:2312.01998.
    """
    return pooled + size * torch.rand(len(pooled), 1, device=pooled.device) * torch.randn_like(pooled)


def reconstruction(
    towers: Towers,
    reader: Sentences,
    words: Callable[[Tensor], Tensor],
    captions: Sequence[str],
    noise: float,
) -> Tensor:
    """LinCIR: the mean squared difference of a caption's feature and that of the caption with pseudo-words.

    The words are made of the caption's own feature with noise, and stand for all its nouns and adjectives.

    Args:
        towers: of the captions' features, without gradient.
        reader: of the captions with pseudo-words.
        words: features (B, D) -> (B, words, W).
        captions: B of them.
        noise: see `noisy`.

    Reference:
        Gu et al., "Language-only Training of Zero-shot Composed Image Retrieval", CVPR 2024,
        arXiv:2312.01998.
    """
    with torch.no_grad():
        goal = towers.text(captions).pooled
    read = reader([masked_phrases(caption) for caption in captions], words(noisy(goal, noise)))
    return F.mse_loss(read, goal)


def text_triplets(
    frozen: Towers,
    reader: Sentences,
    words: Callable[[Tensor], Tensor],
    said: tuple[Sequence[str], Sequence[str], Sequence[str]],
    *,
    noise: float,
    scale: float,
) -> Tensor:
    """RTD: the text tower learns to compose, from captions of a reference and of its answer.

    ``joint_nce`` of "a photo of * that <text>" with the answer's caption, and of "a photo of *" with the
    reference's: the word is that of the reference caption's feature with noise, and passes no gradient.

    Args:
        frozen: towers of the captions' features.
        reader: of the sentences, by the tower that learns.
        words: features (B, D) -> (B, words, W).
        said: B reference captions, texts and answers' captions.
        noise: see `noisy`; scale: of the cosines.

    Reference:
        Byun et al., "RTD: Reducing Task Discrepancy of Text Encoders for Zero-Shot Composed Image Retrieval",
        ICCV 2025, arXiv:2406.09188.
    """
    shown, asked, answers = said
    with torch.no_grad():
        goal = frozen.text([*answers, *shown]).pooled
        made = words(noisy(goal[len(answers) :], noise))
    sentences = [f"a photo of * that {text}" for text in asked] + ["a photo of *"] * len(shown)
    names = [f"{text}" for text in (*answers, *shown)]
    return joint_nce(reader(sentences, torch.cat([made, made])), goal, names, scale)


def semantic(
    towers: Towers, reader: Sentences, words: Words, said: Tensor, captions: Sequence[str]
) -> Tensor:
    """FTI4CIR: sentences with words in place of a caption's subject, of the rest, and of both, say the same.

    Args:
        words: the first of each picture stands for its subject, the others for the rest.
        said: features (B, D) of the sentence with all of them.
        captions: of the pictures.

    Reference:
        Lin et al., "Fine-grained Textual Inversion Network for Zero-Shot Composed Image Retrieval", SIGIR
        2024.
    """
    parts = [subject_and_rest(caption.replace("*", " ")) for caption in captions]
    with torch.no_grad():
        goal = towers.text([f"a photo of {subject} with {rest}" for subject, rest in parts]).pooled
    subject = reader([f"a photo of * with {rest}" for _, rest in parts], words.vectors[:, :1])
    present = None if words.present is None else words.present[:, 1:]
    rest = reader([f"a photo of {subject} with *" for subject, _ in parts], words.vectors[:, 1:], present)
    return (
        torch.stack([1 - F.cosine_similarity(found, goal) for found in (subject, rest, said)]).sum(0).mean()
    )


def uncrossed(parts: Tensor) -> Tensor:
    """The mean squared difference of the cosines of parts (B, N, D) of each picture and of the identity."""
    unit = F.normalize(parts, dim=-1)
    own = torch.eye(parts.shape[1], device=parts.device)
    return F.mse_loss(unit @ unit.transpose(1, 2), own.expand(len(parts), -1, -1))
