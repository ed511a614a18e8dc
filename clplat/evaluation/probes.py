"""Zero-shot probes: what the model still knows outside the stream."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from torch import Tensor

from clplat.evaluation.gallery import Scored
from clplat.evaluation.ranking import rank_of_targets, top_k
from clplat.parts.scorers._base import Scorer


def image_text_recall(
    images: Tensor,
    texts: Tensor,
    ks: Sequence[int] = (1, 5, 10),
    groups: Sequence[Hashable] | None = None,
    scorer: Scorer | None = None,
) -> dict[str, float]:
    """Image-text retrieval R@K in percent, and its two directions.

    Args:
        images: (N, D) embeddings.
        texts: (N, D) embeddings; text i describes picture i.
        ks: cut-offs.
        groups: what each pair shows, e.g. the captions: pairs of one group answer each other. Default: every
            pair is its own. Without groups, equal captions compete for one place, and all but one lose it.
        scorer: compares them; by default the dot product.

    Returns:
        ``R@K = (i2t R@K + t2i R@K) / 2``, ``i2t R@K`` (picture to texts) and ``t2i R@K``.

    Raises:
        ValueError: the rows are no pairs, there are none, or a score is not finite.

    Example:
        >>> import torch
        >>> image_text_recall(torch.eye(2), torch.tensor([[1.0, 0.0], [0.8, 0.6]]), ks=(1,))
        {'R@1': 75.0, 'i2t R@1': 100.0, 't2i R@1': 50.0}
    """
    if len(images) != len(texts) or (groups is not None and len(groups) != len(images)):
        named = "" if groups is None else f" and {len(groups)} groups"
        raise ValueError(f"pictures and texts must come in pairs, not {len(images)} and {len(texts)}{named}")
    members: dict[Hashable, list[int]] = {}
    for i, group in enumerate(range(len(images)) if groups is None else groups):
        members.setdefault(group, []).append(i)
    targets = [members[group] for group in (range(len(images)) if groups is None else groups)]
    ranks = (
        rank_of_targets(asked, shown if scorer is None else Scored(shown, scorer), targets)[0]
        for asked, shown in ((images, texts), (texts, images))
    )
    i2t, t2i = ({k: 100.0 * (rank < k).double().mean().item() for k in ks} for rank in ranks)
    out = {f"R@{k}": (i2t[k] + t2i[k]) / 2 for k in ks}
    return out | {f"i2t R@{k}": i2t[k] for k in ks} | {f"t2i R@{k}": t2i[k] for k in ks}


def classification_accuracy(
    images: Tensor, prompts: Tensor, labels: Tensor, scorer: Scorer | None = None
) -> float:
    """Zero-shot accuracy in percent: every picture gets the class of its most similar prompt.

    Args:
        images: (N, D) embeddings.
        prompts: (C, D) embeddings of the class prompts, one per class.
        labels: (N,) class of each picture. Where classes tie, the first one is predicted.
        scorer: compares them; by default the dot product.

    Raises:
        ValueError: a label without a prompt, no pictures, or a score that is not finite.

    Example:
        >>> import torch
        >>> classification_accuracy(torch.eye(2), torch.eye(2), torch.tensor([0, 0]))
        50.0
    """
    if len(images) == 0 or labels.shape != images.shape[:1]:
        raise ValueError(f"each of the {len(images)} pictures needs one label, not {tuple(labels.shape)}")
    if ((labels < 0) | (labels >= len(prompts))).any():
        raise ValueError(f"labels must lie in 0..{len(prompts) - 1}, the classes that have a prompt")
    predicted = top_k(images, prompts if scorer is None else Scored(prompts, scorer), 1).squeeze(1)
    return 100.0 * (predicted == labels.to(predicted.device)).double().mean().item()
