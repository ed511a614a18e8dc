"""Pictures outside the stream: captioned ones to pretrain a small CLIP on, and zero-shot probes."""

from __future__ import annotations

from clplat.data.records import Picture
from clplat.parts import ClassificationProbe, Probe, RetrievalProbe

from .domains import picture
from .items import CATEGORIES, COLOURS, generator, sample_item
from .language import describe, pretraining_caption, prompt
from .styles import GENERAL

__all__ = ["pretraining_pairs", "probes"]

_PROMPT_COLOURS = 3


def pretraining_pairs(n: int, seed: int = 0, size: int = 96) -> list[Picture]:
    """Captioned pictures of all categories in the general style.

    Args:
        n: how many; their keys are distinct.
        seed: draws products, pictures and captions.
        size: width and height in pixels.
    """
    rng = generator("pretraining", seed)
    out = []
    for i in range(n):
        item = sample_item(CATEGORIES[int(rng.integers(len(CATEGORIES)))], rng)
        out.append(picture(item, GENERAL, f"pretraining/{seed}/{i}", size, pretraining_caption(item, rng)))
    return out


def probes(seed: int = 0, size: int = 96) -> list[Probe]:
    """What a model could do before the stream: general retrieval and zero-shot classification.

    Both show pictures that no pretraining seed yields. ``general-retrieval`` has 120 pictures with distinct
    full descriptions; ``general-classification`` has 18 classes, each category in three colours.
    """
    rng = generator("probes", seed)
    captioned: dict[str, Picture] = {}
    while len(captioned) < 120:
        item = sample_item(CATEGORIES[len(captioned) % len(CATEGORIES)], rng)
        text = describe(item)
        captioned.setdefault(text, picture(item, GENERAL, f"probe/{seed}/{len(captioned)}", size, text))
    prompts, shots, labels = [], [], []
    for category in CATEGORIES:
        for index in rng.permutation(len(COLOURS))[:_PROMPT_COLOURS]:
            colour = COLOURS[int(index)]
            prompts.append(prompt(category, colour))
            for copy in range(9):
                item = sample_item(category, rng).replace("colour", colour)
                shots.append(picture(item, GENERAL, f"class/{seed}/{copy}", size))
                labels.append(len(prompts) - 1)
    return [
        RetrievalProbe("general-retrieval", tuple(captioned.values()), tuple(captioned)),
        ClassificationProbe("general-classification", tuple(shots), tuple(prompts), tuple(labels)),
    ]
