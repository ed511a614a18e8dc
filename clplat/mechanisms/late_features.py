"""The features before the last trained part of a model, and what that part makes of such features.

Of a retriever the part is its composer, between pooled features of reference and text and the target's
embedding; of a classifier it is its last linear layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clplat.errors import UserError
from clplat.mechanisms.examples import labels_of
from clplat.mechanisms.memory.descriptions import Describes, last_linear
from clplat.models.features import POOLED, ImageFeatures, TextFeatures
from clplat.models.outputs import Outputs, as_outputs

__all__ = ["NO_PART", "late_features", "late_loss", "late_part", "of_one_length"]

#: Said of embeddings that no composer has made.
NO_PART = (
    "feature replay needs a ComposedRetriever and composed queries, or a classifier: pairs reach no composer"
)


def late_part(model: nn.Module) -> nn.Module:
    """The composer of a retriever, or the last linear layer of a classifier.

    Raises:
        UserError: a composer that reads more than pooled features, a head behind it, or no such part.
    """
    composer = getattr(model, "composer", None)
    if composer is None:
        if (layer := last_linear(model)) is None:
            raise UserError(
                "features are replayed before a composer or a last linear layer; there is neither"
            )
        return layer
    if any(not composer.wants.get(side, POOLED) <= POOLED for side in ("image", "text")):
        raise UserError(
            f"features are replayed into composers of pooled features, not {type(composer).__name__}"
        )
    if getattr(model, "head", None) is not None:
        raise UserError("features are replayed into a composer whose queries are compared: use no head")
    return composer  # type: ignore[no-any-return]


def late_features(learner: Describes, data: Any, batch_size: int = 64) -> dict[str, Tensor]:
    """Rows of the examples of an experience, on the CPU, by the name of what they are generated for.

    Of a retriever one name, with the features of reference, text and target side by side (N, 3 D); of a
    classifier one for each class (N, D).

    Raises:
        UserError: examples that the part never sees, or classes that are not told.
    """
    part, found = late_part(learner.model), dict[str, list[Tensor]]()
    seen: list[tuple[Any, ...]] = []
    handle = part.register_forward_pre_hook(lambda _, inputs: seen.append(inputs))
    try:
        for batch, outputs in learner.passes(data, batch_size):
            made = as_outputs(outputs)
            if not isinstance(made, Tensor):
                if not seen or isinstance(part, nn.Linear):
                    raise UserError(NO_PART)
                image, text = seen[-1]
                sides = [image.pooled, text.pooled, made.candidates[: len(made.query)]]
                found.setdefault("", []).append(torch.cat(sides, dim=1).detach().float().cpu())
            elif (labels := labels_of(batch)) is not None:
                for number in labels.unique(sorted=True).tolist():  # type: ignore[no-untyped-call]
                    rows = seen[-1][0][labels.to(made.device) == number]
                    found.setdefault(str(number), []).append(rows.detach().float().cpu())
            else:
                raise UserError("features of a classifier are replayed by class: batches are (x, y, ...)")
    finally:
        handle.remove()
    return {name: torch.cat(rows) for name, rows in found.items()}


def late_loss(
    model: nn.Module,
    rows: Tensor,
    names: list[str],
    *,
    temperature: float | None = None,
    blocks: Sequence[Sequence[int]] = (),
) -> Tensor:
    """The loss of generated rows: InfoNCE of queries and targets, or the cross-entropy of classes.

    Args:
        model: as in `late_features`.
        rows: as there; of a retriever all of one experience.
        names: of what each row was generated for, a number for a class.
        temperature: of logits that are brought to one length first; None leaves them as they are.
        blocks: classes that were met together, for that length.
    """
    part = late_part(model)
    device = next(model.parameters()).device
    rows = rows.to(device)
    if isinstance(part, nn.Linear):
        logits, meant = part(rows), torch.tensor([int(name) for name in names], device=device)
    else:
        image, text, target = rows.chunk(3, dim=1)
        query = part(ImageFeatures(pooled=image), TextFeatures(pooled=text))
        scale = model.towers.scale.detach()  # type: ignore[union-attr, operator]
        outputs = Outputs(F.normalize(query, dim=-1), F.normalize(target, dim=-1), scale)
        logits, meant = outputs.scores(scale=scale), torch.arange(len(rows), device=device)
    if temperature is not None:
        logits = of_one_length(logits, blocks) / temperature
    return F.cross_entropy(logits, meant)


def of_one_length(logits: Tensor, blocks: Sequence[Sequence[int]] = ()) -> Tensor:
    """Logits (N, K) divided by the length of each row, so that a loss cannot fall by longer ones.

    Args:
        blocks: columns that belong together; then by the mean of the lengths within each.

    References:
        Zhang et al. 2023 (SLCA), arXiv 2303.05118, equation 9.

    Example:
        >>> of_one_length(torch.tensor([[3.0, 4.0, 5.0]]), [[0, 1], [2]]).tolist()
        [[0.6000000238418579, 0.800000011920929, 1.0]]
    """
    parts = [logits[:, list(block)] for block in blocks] or [logits]
    length = torch.stack([part.norm(dim=1, keepdim=True) for part in parts]).mean(0)
    return logits / (length + 1e-7)
