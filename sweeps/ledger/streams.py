"""The two streams that systems are measured on side by side: drawn pictures and photographs."""

from __future__ import annotations

from collections.abc import Sequence

from clplat.config.recipes import recipe
from clplat.sweep.layout import permuted
from sweeps.ledger.jobs import Stream
from sweeps.ledger.rates import RATES

__all__ = ["STREAMS"]

ORDERS = 2


def _orders(names: Sequence[str]) -> list[list[str]]:
    return [order or list(names) for order in permuted(names, ORDERS)]


STREAMS = (
    Stream(
        "catalogue",
        "three drawn domains of the catalogue, 192 training triplets each; the shipped CLIP `clplat-tiny`",
        {
            "scenario": {"name": "catalogue", "domains": 3, "train": 192, "queries": 100, "gallery": 120},
            "train": {"epochs": 3},
        },
        _orders(["dress-studio", "top-sketch", "shoe-textured"]),
        rates=RATES["catalogue"],
    ),
    Stream(
        "products",
        "photographs of a shop, three domains with 192 training triplets each in one gallery of 300; a small "
        "CLIP of 16 patches that has seen the training products with their captions and no query; of a tower "
        "that is trained as a whole its last two blocks",
        {
            "backbone": "local-dir:models/coarse",
            "scenario": {
                **recipe("products").config["scenario"],
                "order": ["Topwear", "Shoes", "Watches"],
                "train": 192,
                "queries": 100,
                "gallery": 300,
                "negatives": 0,
            },
            "adapter": {"name": "full", "last": 2},
            "sampler": "shuffled",
            "train": {"epochs": 3},
        },
        _orders(["Topwear", "Shoes", "Watches"]),
        {"domains": "all"},  # which share one gallery
        RATES["products"],
    ),
)
