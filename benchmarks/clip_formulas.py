"""How far a step of ZSCL and the towers of Mammoth's CLIP are from ours, with the same parameters."""

from __future__ import annotations

from contextlib import redirect_stderr, redirect_stdout
from io import StringIO

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from benchmarks.mammoth_clip import start
from benchmarks.pairs import CLASSES
from benchmarks.side_by_side import BATCH, stream
from benchmarks.small_clip import beside, learner_of, logits
from benchmarks.vit import System, pictures
from benchmarks.vit_formulas import Caught, far
from clplat.models.attention import split_state_dict
from clplat.randomness import generator, seeded
from clplat.strategies import Naive, ReferenceDistill

__all__ = ["reference_apart", "towers_apart"]


def reference_apart() -> float:
    """The largest relative difference of gradients of a step, and of logits before it.

    The student is moved away from its teacher first, which the step draws it to. The losses differ by the
    entropy of the teacher, a constant.
    """
    system = System(ReferenceDistill(weight=5.0, temperature=2.0, pictures=BATCH, texts=40), 0.0)
    ours = learner_of(system, prepare=True)
    ours.optimizer = torch.optim.SGD([p for p in ours.model.parameters() if p.requires_grad], lr=0.0)
    shown = beside()[0][:BATCH]
    ours.reference.sample = lambda *_: (shown, ours.reference.said)
    (x, y) = stream(CLASSES)[0][0][:BATCH]
    with seeded(0, "formulas"), redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        peer, benchmark = start(lambda: ("zscl", {"lr": 0.0, "ls": 0.0}), CLASSES, 0)
        benchmark.begin(0)
        peer.meta_begin_task(benchmark)
        peer.opt, peer.ref_iter = Caught(peer.net), iter([(shown, torch.zeros(BATCH))])
        moved = _moved(peer.net)
        with system.strategy.experience(ours, None) as experience:
            ours.model.backbone.load_stock_state_dict({**peer.net.state_dict(), **moved})
            peer.net.load_state_dict(moved, strict=False)
            asked = peer(pictures(x)).log()
            peer.meta_observe(pictures(x), y, pictures(x), epoch=0)
            outputs = logits(ours.model, x, 0, 2)
            made = outputs.scores(scale=outputs.scale)
            loss = cross_entropy(made, y) + experience.loss((x, y), outputs)
            loss.backward()  # type: ignore[no-untyped-call]
            ours.optimizer.step()
    learnt = {n: p for n, p in ours.model.backbone.model.named_parameters() if p.requires_grad}
    theirs = _split(peer.opt.slopes)
    pairs = [(p.grad.flatten(), theirs[name].flatten()) for name, p in learnt.items()]
    own, others = (torch.cat(side) for side in zip(*pairs, strict=True))
    return max(far(made.log_softmax(1), asked), far(own, others))


def towers_apart() -> float:
    """Of probabilities of classes before training: of Mammoth's MoE-Adapters and of our towers."""
    (x, _) = stream(CLASSES)[0][1][:BATCH]
    with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        peer, _ = start(lambda: ("moe_adapters", {"lr": 0.0}), CLASSES, 0)
        peer.eval()
        outputs = logits(learner_of(System(Naive(), 0.0)).model, x)
        with torch.no_grad():
            return far(outputs.scores(scale=outputs.scale).softmax(1), peer.net(pictures(x)))


def _moved(network: torch.nn.Module) -> dict[str, Tensor]:
    draw = generator(0, "moved")
    named = ((name, p) for name, p in network.named_parameters() if name != "logit_scale")
    return {name: p.detach() + 0.02 * torch.randn(p.shape, generator=draw) for name, p in named}


def _split(slopes: dict[str, Tensor]) -> dict[str, Tensor]:
    names = {name.rpartition(".")[0] for name in slopes if name.endswith("in_proj_weight")}
    return split_state_dict(slopes, names)
