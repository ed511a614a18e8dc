"""Pseudo-words: a map trained on kept features, and words found by gradient steps, against the public loops.

The peers take the same model and run 77 positions of a sentence that is the same for all pictures but for
one word. Pic2Word's step passes its pictures through the image tower; the inversion of SEARLE and of
Cross-the-Gap is given one picture at a time here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import open_clip
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks import synthetic
from benchmarks.harness import in_turns, peak_megabytes, row
from clplat.mechanisms.inversion import Inversion, Inverted
from clplat.mechanisms.pseudo_words import Sentences, Template
from clplat.parts.composers.pseudo_word import PseudoWord
from clplat.retriever import ComposedRetriever

BATCH, TIMED = 128, 16
#: Pictures that are inverted, of which the peer takes some, and gradient steps; all steps cost the same.
PICTURES, ALONE, STEPS = 32, 2, 5


def ours(which: str) -> Callable[[], object]:
    """A step of the map, collating included; or the inversion of all pictures."""
    backbone = synthetic.vit_b_32()
    if which == "inversion":
        return inversion(backbone)
    composer = PseudoWord(inversion=1.0)
    retriever = ComposedRetriever(backbone, composer)
    composer.unread = True  # as in a run without a loss
    collate, data = synthetic.collate(backbone), synthetic.triplets(BATCH, BATCH)
    synthetic.keep_features(retriever, [collate(data)])
    retriever.train()
    optimizer = torch.optim.AdamW(composer.parameters(), lr=1e-4, foreach=True)

    def step() -> None:
        optimizer.zero_grad()
        retriever(collate(data)).terms["inversion"].backward()
        optimizer.step()

    return step


def inversion(backbone: Any) -> Callable[[], object]:
    retriever = ComposedRetriever(backbone, PseudoWord())
    towers, pooled = retriever.towers, torch.randn(PICTURES, 512)
    template = Template(towers, "a photo of *")

    def found() -> Tensor:
        inverted = Inverted(template, 512, STEPS, Inversion(), Sentences(towers))
        return inverted([str(i) for i in range(PICTURES)], pooled)

    return found


class Peer:
    """The loops' own way: every position of the context, and no more than what a step needs trained."""

    def __init__(self, clip: Any) -> None:
        self.clip, self.ids = clip.requires_grad_(False), open_clip.tokenize(["a photo of *"])
        self.map = nn.Sequential(
            *(nn.Linear(512, 512), nn.ReLU(), nn.Dropout(0.1), nn.Linear(512, 512), nn.ReLU()),
            *(nn.Dropout(0.1), nn.Linear(512, 512)),
        )
        self.optimizer = torch.optim.AdamW(self.map.parameters(), lr=1e-4)

    def read(self, words: Tensor) -> Tensor:
        ids = self.ids.expand(len(words), -1)
        x = self.clip.token_embedding(ids)
        x = torch.cat([x[:, :4], words[:, None], x[:, 5:]], dim=1) + self.clip.positional_embedding
        x = self.clip.ln_final(self.clip.transformer(x, attn_mask=self.clip.attn_mask))
        return F.normalize(x[:, 5] @ self.clip.text_projection, dim=-1)

    def step(self, pixels: Tensor) -> None:
        with torch.no_grad():
            image = self.clip.encode_image(pixels)
        logits = 100.0 * self.read(self.map(image)) @ F.normalize(image, dim=-1).T
        right = torch.arange(len(pixels))
        self.optimizer.zero_grad()
        loss = (F.cross_entropy(logits, right) + F.cross_entropy(logits.T, right)) / 2
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()

    def invert(self, pooled: Tensor) -> None:
        goal = F.normalize(pooled, dim=-1)
        for one in goal.split(1):
            word = torch.empty(1, 512).normal_(std=0.02).requires_grad_()
            optimizer = torch.optim.AdamW([word], lr=2e-2, weight_decay=0.01)
            for _ in range(STEPS):
                optimizer.zero_grad()
                (1 - (self.read(word) * one).sum()).backward()  # type: ignore[no-untyped-call]
                optimizer.step()


def rows() -> list[dict[str, Any]]:
    backbone = synthetic.vit_b_32()
    peer = Peer(synthetic.stock(backbone))
    pixels = synthetic.normalised(
        backbone, synthetic.collate(backbone)(synthetic.triplets(TIMED, 2 * TIMED)).reference
    )
    del backbone
    own, theirs = in_turns(ours("map"), lambda: peer.step(pixels), repeats=3)
    found, alone = in_turns(ours("inversion"), lambda: peer.invert(torch.randn(ALONE, 512)), repeats=3)
    return [
        row(
            "training step of a map to pseudo-words on pictures alone, a picture",
            own / BATCH,
            theirs / TIMED,
            ">= 25x",
            f"batch {BATCH}, kept features; peer: Pic2Word's step, {TIMED} pictures through the image tower "
            "and as many sentences of 77 positions",
            peak_megabytes("words", "map"),
        ),
        row(
            "pseudo-words by gradient steps, a picture and step",
            found / PICTURES / STEPS,
            alone / ALONE / STEPS,
            ">= 3x",
            f"{PICTURES} pictures, {STEPS} steps, what stands before the word run once; peer: picture by "
            "picture, sentences of 77 positions",
            peak_megabytes("words", "inversion"),
        ),
    ]
