"""The mean of each class's exemplars in the features of the model as it is now."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from clplat.mechanisms.examples import join_examples
from clplat.mechanisms.memory.descriptions import last_linear, reading
from clplat.mechanisms.memory.store import Memory
from clplat.mechanisms.teacher import Predicts, Teacher, snapshot

__all__ = ["class_means", "put_means"]


def class_means(learner: Predicts, memory: Memory, batch_size: int = 64) -> dict[int, Tensor]:
    """Unit means (D,) of the unit features that the last linear layer reads of each class's exemplars.

    Args:
        learner: makes outputs of batches.
        memory: with one group per class; other groups are passed over.
        batch_size: exemplars per forward pass.

    References:
        Rebuffi et al. 2017 (iCaRL), arXiv 1611.07725; Mensink et al. 2013 (nearest class mean).
    """
    model = Teacher(snapshot(learner.model, statistics=True), "momentum")  # evaluation mode, no gradients
    means: dict[int, Tensor] = {}
    for name, rows in memory.groups.items():
        if not name.startswith("class ") or not rows:
            continue
        with reading(learner.model) as seen:
            for start in range(0, len(rows), batch_size):
                model.outputs(learner, join_examples(rows[start : start + batch_size]))
        if seen:
            means[int(name.split()[1])] = normalize(normalize(torch.cat(seen), dim=1).mean(0), dim=0)
    return means


@torch.no_grad()
def put_means(model: nn.Module, means: Mapping[int, Tensor]) -> dict[str, Tensor]:
    """Let the last linear layer answer with the nearest mean, and return what it was.

    Its rows become the unit means: the features of an example have one length, so that the largest logit is
    that of the nearest mean. A class without a mean is never the answer.

    Returns:
        Copies of the layer's tensors by name; nothing, where it has no place for a class or is not there.
    """
    layer = last_linear(model)
    if layer is None or not means or max(means) >= layer.out_features:
        return {}
    before = {name: p.detach().clone() for name, p in layer.named_parameters()}
    numbers = [*means]
    layer.weight.zero_()
    layer.weight[numbers] = torch.stack([means[number] for number in numbers]).to(layer.weight)
    if layer.bias is not None:
        layer.bias.fill_(-1e4)
        layer.bias[numbers] = 0.0
    return before
