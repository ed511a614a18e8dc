"""Weight adapters: a step beside PEFT's own, attaching each to ViT-L/14, and a hundred of one base switched.

A step of LoRA and its kin is made on the MLPs of all blocks, on the same open_clip model of ViT-B/32's shape:
by clplat, and by PEFT around stock open_clip. PEFT alone reaches these maps in stock open_clip for all
methods. Every adapter of the registry is attached to one build of ViT-L/14 with random weights, of which the
copies share all tensors; what takes more than the limit has a row of its own. Seconds of attaching and of
switching are those on the clock, or of the processor where these are fewer: on a busy machine a call waits.
"""

from __future__ import annotations

import copy
import random
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import open_clip
import peft
import torch

from benchmarks import peers, synthetic
from benchmarks.harness import in_turns, row
from clplat import registry
from clplat.errors import UserError
from clplat.models.backbone import Backbone
from clplat.parts.adapters.peft import LoRA, adapter_class
from clplat.parts.composers.sum import Sum
from clplat.randomness import seeded
from clplat.retriever import ComposedRetriever

STEPS = ("lora", "dora", "loha", "lokr", "vera", "oft", "hra", "ia3", "fourierft")
BATCH, REPEATS = 4, 3
#: Seconds that attaching one, and switching to one, may take.
ATTACH, SWITCH = 5.0, 0.020
ADAPTERS, RANK = 100, 4


def rows() -> list[dict[str, Any]]:
    return [*steps(), *attached(), switched()]


def steps() -> Iterator[dict[str, Any]]:
    """A row per method."""
    bare = synthetic.vit_b_32()
    clip = synthetic.stock(bare)
    for method in STEPS:
        backbone = shared_copy(bare)
        made = adapter_class(method)(targets="mlp")
        with seeded(0, "benchmarks", method):
            made.attach(backbone)
        state: Any = backbone.adapters
        config = copy.deepcopy(state.peft_model.peft_config["default"])
        with seeded(0, "benchmarks", method):
            other = peft.get_peft_model(shared_copy(clip), config)
        retriever = ComposedRetriever(backbone, Sum(normalise=False))
        batch = synthetic.collate(backbone)(synthetic.triplets(BATCH, 2 * BATCH))
        synthetic.keep_features(retriever, [batch])
        mine, theirs = (peers.trained(model) for model in (retriever, other))
        assert sum(p.numel() for p in mine) == sum(p.numel() for p in theirs), method
        reference, target = (synthetic.normalised(backbone, x) for x in (batch.reference, batch.candidates))
        own, peer = in_turns(
            partial(synthetic.step, retriever, torch.optim.AdamW(mine, lr=1e-4, foreach=True), batch),
            partial(
                peers.tower_step, other, torch.optim.AdamW(theirs, lr=1e-4), reference, batch.tokens, target
            ),
            repeats=REPEATS,
        )
        note = (
            f"batch {BATCH}, defaults of ours on both sides; peer: PEFT around stock open_clip, 77 positions"
        )
        what = f"training step of {made} beside PEFT's own, a triplet"
        yield row(what, own / BATCH, peer / BATCH, "<= 1.1x", note)


def attached() -> Iterator[dict[str, Any]]:
    """The slowest of all that stay within the limit, and each that does not."""
    bare = vit_l_14()
    taken: dict[str, float] = {}
    refused: list[str] = []
    for name in registry.names("adapters"):
        if name in LONG:
            continue
        part = registry.load("adapters", name)()
        backbone = vit_l_14() if part.rewrites_base else shared_copy(bare)
        with seeded(0, "benchmarks", name):
            begun = time.perf_counter(), time.process_time()
            try:
                part.attach(backbone)
            except UserError:
                refused.append(name)
                continue
            taken[name] = min(time.perf_counter() - begun[0], time.process_time() - begun[1])
        bare.requires_grad_(False)
    within = {name: seconds for name, seconds in taken.items() if seconds <= ATTACH}
    slowest = max(within, key=within.__getitem__)
    note = f"defaults, random weights; {len(within)} of {len(taken)} stay within the limit"
    note += "".join(f"; not timed: {name}, {why}" for name, why in LONG.items())
    note += f"; refused by this model: {', '.join(refused)}" if refused else ""
    yield row(
        f"attaching {slowest} to ViT-L/14, the slowest of those within the limit", within[slowest], ATTACH,
        "<= 1x", f"{note}; peer: the seconds that it may take",
    )  # fmt: skip
    for name in sorted(taken.keys() - within.keys()):
        what, note = f"attaching {name} to ViT-L/14", WHY.get(name, "defaults, random weights")
        yield row(what, taken[name], ATTACH, "<= 1x", f"{note}; peer: the seconds that it may take")


#: What takes the time of those that miss the limit.
WHY: dict[str, str] = {
    "adamss": "k-means and a small decomposition in each of 216 layers, by scikit-learn",
}
#: Those that take minutes, and why: they are not timed.
LONG = {
    "frod": "24 inverses of 4096 rows and a QR of 24576 x 4096 for each kind of layer",
    "osf": "trains half of all singular directions: 216 whole decompositions",
}


def switched() -> dict[str, Any]:
    """The slowest of all switches among the adapters of one base, each to each once."""
    backbone = vit_l_14()
    places = {key: tensor.data_ptr() for key, tensor in backbone.base_state().items()}
    adapter = LoRA(r=RANK)
    for number in range(ADAPTERS):
        adapter.attach(backbone, f"a{number}")
    names = [f"a{number}" for number in range(ADAPTERS)]
    random.Random(0).shuffle(names)
    spent = []
    for name in names:
        begun = time.process_time()
        adapter.activate(backbone, name)
        spent.append(time.process_time() - begun)
    assert places == {key: tensor.data_ptr() for key, tensor in backbone.base_state().items()}
    spent.sort()
    median = 1000 * spent[ADAPTERS // 2]
    note = (
        f"LoRA of rank {RANK} on all maps, the slowest of {ADAPTERS} switches (median {median:.1f} ms); "
        "the tensors of the base stay where they are; peer: the seconds that it may take"
    )
    return row(f"switching among {ADAPTERS} adapters of one ViT-L/14", spent[-1], SWITCH, "<= 1x", note)


def vit_l_14() -> Backbone:
    return Backbone.random(open_clip.get_model_config("ViT-L-14"), seed=0)


def shared_copy(model: Any) -> Any:
    """A copy of the modules that shares all tensors."""
    shared = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    return copy.deepcopy(model, shared)
