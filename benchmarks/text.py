"""The text tower on captions as long as CIRR's, none seen before: ours against ``encode_text``.

The peer takes as long for any 32 captions: a few of such passes are timed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from benchmarks import peers, synthetic
from benchmarks.harness import in_turns, peak_megabytes, row
from clplat.cache.engine import FeatureCache
from clplat.cache.store import Store
from clplat.data.inputs import Images, Texts
from clplat.models.backbone import Backbone

CAPTIONS, TIMED = 2048, 256


def encoder(backbone: Backbone) -> Callable[[], object]:
    """Makes the rows of all captions, in a store that is empty each time, and reads them."""
    ids = backbone.tokenize(synthetic.captions(CAPTIONS))
    none = Images([], lambda rows, again: torch.empty(0))

    def encode() -> torch.Tensor:
        features = FeatureCache(backbone, Store(None))
        texts = Texts(ids)
        features.prepare(none, texts)
        return features.text(texts).pooled

    return encode


def ours(which: str) -> Callable[[], object]:
    return encoder(synthetic.vit_b_32())


def rows() -> list[dict[str, Any]]:
    backbone = synthetic.vit_b_32()
    clip, texts = synthetic.stock(backbone), synthetic.captions(CAPTIONS)
    ids = backbone.tokenize(texts)
    own, peer = in_turns(encoder(backbone), lambda: peers.encode_texts(clip, ids[:TIMED]))
    words = sum(len(text.split()) for text in texts) / CAPTIONS
    tokens = sum(Texts(ids).lengths) / CAPTIONS
    note = (
        f"{CAPTIONS} distinct captions, log-normal lengths as CIRR's ({words:.1f} words, {tokens:.1f} "
        f"tokens), an empty store; peer: encode_text of 77 positions, {peers.CHUNK} a pass"
    )
    what = "text features of new captions, a caption"
    return [row(what, own / CAPTIONS, peer / TIMED, ">= 5x", note, peak_megabytes("text", "all"))]
