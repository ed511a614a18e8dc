"""Does what holds for drawn products hold for photographs?

Six domains of a shop's photographs, and a small CLIP that has seen the training products with their captions
and no query: the bound, replay and naive training of the last two blocks, each asked by the plain sum of
picture and words; replay with the combiner; and, with nothing trained, the picture alone and the words alone.
All domains share one gallery, and so the batches of the bound and of the memory are of all domains together.

    clplat pretrain --preset small --source products --out models/products  # needs data/products
    python sweeps/products.py --workers 2

A laptop size: a quarter of an hour on two cores, and as long again for the model. More triplets, epochs
and seeds make it serious.
"""

from __future__ import annotations

import sys

from clplat.cli import script
from clplat.config.recipes import recipe
from clplat.sweep import Sweep
from sweeps import question_of

REPLAY = {"name": "replay", "domains": "all"}

SWEEP = Sweep(
    name="products",
    question=question_of(__doc__),
    base={
        "backbone": "local-dir:models/products",
        "scenario": {**recipe("products").config["scenario"], "train": 256, "negatives": 0},
        "adapter": {"name": "full", "last": 2},
        "sampler": "shuffled",
        "train": {"epochs": 2, "lr": 2e-4, "head_lr": 1e-3},
    },
    methods={
        "replay": {"strategy": REPLAY},
        "replay, combiner": {"strategy": REPLAY, "composer": "combiner"},
        "naive": {"strategy": "naive"},
        "picture alone": {"strategy": "frozen", "adapter": "none", "composer": "image_only"},
        "words alone": {"strategy": "frozen", "adapter": "none", "composer": "text_only"},
    },
    figure={"kind": "heatmap", "title": "Products by domain"},
)

if __name__ == "__main__":
    sys.exit(script(SWEEP, __file__))
