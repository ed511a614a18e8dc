"""Heads on a frozen CLIP: trained from kept features, against the loops that encode in every step.

The peer's passes through CLIP cost the same for every 32 triplets: those of one such chunk are timed, its
step of the combiner is timed whole.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import open_clip
import torch

from benchmarks import peers, synthetic
from benchmarks.harness import in_turns, peak_megabytes, row
from clplat.parts.composers.combiner import Combiner
from clplat.parts.composers.sum import Sum
from clplat.parts.projections.linear import Linear
from clplat.retriever import ComposedRetriever

BATCH, TIMED = 1024, 32
#: Projection and hidden width, and how many times as fast it should be.
SIZES = {"large": (2560, 5120, 25), "small": (640, 1280, 150)}
#: Steps of the projection, pairs per step, and pictures whose features are kept.
STEPS, PAIRS, PICTURES = 100, 512, 512


def ours(which: str) -> Callable[[], object]:
    """One step of a combiner, collating included; or the whole training of a projection."""
    backbone = synthetic.vit_b_32()
    collate = synthetic.collate(backbone)
    data = synthetic.triplets(BATCH, PICTURES)
    if which not in SIZES:
        return projection(ComposedRetriever(backbone, Sum()), collate(data[: PICTURES // 2]))
    width, hidden, _ = SIZES[which]
    retriever = ComposedRetriever(backbone, Combiner(width, hidden, 0.5, "random"))
    synthetic.keep_features(retriever, [collate(data)])
    retriever.composer.train()
    optimizer = torch.optim.AdamW(retriever.composer.parameters(), lr=1e-5, foreach=True)
    return lambda: synthetic.step(retriever, optimizer, collate(data))


def projection(retriever: ComposedRetriever, batch: Any) -> Callable[[], object]:
    synthetic.keep_features(retriever, [batch])

    def fit() -> None:
        with torch.no_grad():
            new, old = (retriever.encode_images(batch.pictures) for _ in range(2))
        Linear(steps=STEPS, batch_size=PAIRS).fit(new, old)

    return fit


def rows() -> list[dict[str, Any]]:
    backbone = synthetic.vit_b_32()
    clip = synthetic.stock(backbone)
    batch = synthetic.collate(backbone)(synthetic.triplets(TIMED, 2 * TIMED))
    reference, target = (synthetic.normalised(backbone, x) for x in (batch.reference, batch.candidates))
    texts = synthetic.captions(TIMED)
    del backbone

    def encode() -> None:
        peers.encode_images(clip, reference)
        peers.encode_images(clip, target)
        peers.encode_texts(clip, open_clip.tokenize(texts))

    found = []
    for name, (width, hidden, target_ratio) in SIZES.items():
        network = peers.PublicCombiner(512, width, hidden).train()
        optimizer = torch.optim.AdamW(network.parameters(), lr=1e-5)
        features = torch.randn(3, BATCH, 512)
        call = ours(name)
        own, encoding, head = in_turns(
            call,
            encode,
            lambda: peers.combiner_step(network, optimizer, *features),  # noqa: B023
        )
        millions = sum(parameter.numel() for parameter in network.parameters()) / 1e6
        found.append(
            row(
                f"training step of a Combiner of {millions:.1f} million parameters, a triplet",
                own / BATCH,
                encoding / TIMED + head / BATCH,
                f">= {target_ratio}x",
                f"batch {BATCH}; peer: CLIP4Cir's stage 2, which encodes two pictures and a caption a "
                f"triplet ({encoding / TIMED * 1e3:.0f} ms) and then trains ({head / BATCH * 1e3:.2f} ms)",
                peak_megabytes("combiner", name),
            )
        )
    return [*found, linear(clip, reference)]


def linear(clip: Any, pixels: torch.Tensor) -> dict[str, Any]:
    map_ = torch.nn.Linear(512, 512, bias=False)
    optimizer = torch.optim.Adam(map_.parameters())

    def live() -> None:
        new, old = (peers.encode_images(clip, pixels) for _ in range(2))
        peers.projection_step(map_, optimizer, new, old)

    own, peer = in_turns(ours("linear"), live)
    note = (
        f"{STEPS} steps of {PAIRS} pairs, the closed-form start and reading the features included; peer: as "
        f"in FCT, each step passes its {TIMED} pictures through the new and the old model "
        f"(with stored old embeddings: {peer / TIMED / 2 / (own / STEPS / PAIRS):,.0f}x)"
    )
    what = "training of a linear projection 512 -> 512, a pair"
    return row(
        what, own / STEPS / PAIRS, peer / TIMED, ">= 2,000x", note, peak_megabytes("combiner", "linear")
    )
