"""A CLIP of ViT-B/32's shape with random weights, and pictures and captions of true sizes for it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import open_clip
import torch
from PIL import Image
from torch import Tensor

from clplat.cache.engine import FeatureCache
from clplat.cache.store import Store
from clplat.data.batch import Batch
from clplat.data.collate import Collate
from clplat.data.images import PixelStore, Preprocess
from clplat.data.records import Example, Picture, Triplet
from clplat.models.backbone import Backbone
from clplat.parts.losses.info_nce import InfoNCE
from clplat.progress import Progress
from clplat.retriever import ComposedRetriever

_WORDS = """
the same dog in a different pose with two puppies standing on green grass near water show only one more person
holding it is closer to camera and has darker background remove plate of food add some flowers make animal
face left instead brown white black red long sleeves shorter bottle table sitting outside there are fewer
birds facing opposite direction less cluttered close up labradoodle
"""


def vit_b_32() -> Backbone:
    return Backbone.random(open_clip.get_model_config("ViT-B-32"), seed=0)


def stock(backbone: Backbone) -> Any:
    """open_clip's own model with the same weights."""
    model = open_clip.create_model("ViT-B-32")
    model.load_state_dict(backbone.stock_state_dict())
    return model.requires_grad_(False).eval()


def captions(count: int, seed: int = 0) -> list[str]:
    """Distinct captions as long as CIRR's: 11.3 words and 14 tokens in the mean, the longest about 50.

    Lengths are drawn from a log-normal distribution (sigma 0.38), which has CIRR's mean and 95th percentile.
    """
    draw = np.random.default_rng(seed)
    found: dict[str, None] = {}
    while len(found) < count:
        words = round(np.clip(np.exp(draw.normal(2.355, 0.38)), 3, 50))
        found[" ".join(draw.choice(_WORDS.split(), words))] = None
    return list(found)


def triplets(count: int, pictures: int) -> list[Example]:
    """Triplets with captions of their own, of this many distinct pictures: 224 x 224 pixels of noise."""
    shown = [Picture(f"noise/{i}", partial(_noise, i)) for i in range(pictures)]
    return [
        Triplet(f"{i}", shown[2 * i % pictures], text, shown[(2 * i + 1) % pictures], f"{i}", "noise")
        for i, text in enumerate(captions(count))
    ]


def _noise(number: int) -> Image.Image:
    draw = np.random.default_rng(number)
    return Image.fromarray(draw.integers(0, 256, (224, 224, 3), dtype=np.uint8))


def collate(backbone: Backbone) -> Collate:
    return Collate(PixelStore(Preprocess(backbone.image_size)), backbone.tokenize)


def keep_features(retriever: ComposedRetriever, batches: Sequence[Batch]) -> None:
    """Give the retriever this process's store and make everything that these batches will ask for."""
    retriever.cache = FeatureCache(retriever.backbone, Store.default())
    for batch in batches:
        retriever.prepare(batch.pictures, batch.texts)


def step(retriever: ComposedRetriever, optimizer: torch.optim.Optimizer, batch: Batch) -> None:
    """A training step of clplat."""
    optimizer.zero_grad()
    outputs = retriever(batch)
    InfoNCE()(outputs, batch, Progress()).backward()
    optimizer.step()


def normalised(backbone: Backbone, pixels: Tensor) -> Tensor:
    """Pictures as the public codes hand them to the model: floats, by the loader's processes."""
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (backbone.mean, backbone.std))
    return (pixels / 255 - mean) / std
