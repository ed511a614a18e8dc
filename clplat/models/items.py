"""From the features of pictures and texts to one embedding for each item, whatever the item holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from clplat.models.features import ImageFeatures, TextFeatures, Triplets

__all__ = ["embed_items", "in_order", "tokens_of", "triplets_of", "wanted_of"]


def embed_items(
    pictures: ImageFeatures | None,
    texts: TextFeatures | None,
    shown: Sequence[int],
    said: Sequence[int],
    compose: Callable[[ImageFeatures, TextFeatures], Tensor],
    show: Callable[[ImageFeatures], Tensor] = lambda image: image.pooled,
    say: Callable[[TextFeatures], Tensor] = lambda text: text.pooled,
) -> Tensor:
    """Embeddings (N, D) of items, before any normalisation.

    An item of both is composed; one of a picture or of a text alone is its pooled feature by default.

    Args:
        pictures: features of all pictures of the items; None where there is none.
        texts: of all texts.
        shown: the row in ``pictures`` of each item, -1 for an item without a picture.
        said: the row in ``texts`` of each item, -1 for an item without a text.
        compose: features of pictures and of as many texts -> embeddings.
        show: features of pictures alone -> embeddings.
        say: features of texts alone -> embeddings.
    """
    made: list[Tensor] = []
    order: list[int] = []
    held = [(row >= 0, other >= 0) for row, other in zip(shown, said, strict=True)]
    for kind in dict.fromkeys(held):
        places = [place for place, one in enumerate(held) if one == kind]
        image = pictures.part([shown[i] for i in places]) if pictures is not None and kind[0] else None
        text = texts.part([said[i] for i in places]) if texts is not None and kind[1] else None
        if image is not None and text is not None:
            made.append(compose(image, text))
        elif image is not None:
            made.append(show(image))
        elif text is not None:
            made.append(say(text))
        order += places
    return in_order(made, order)


def tokens_of(found: ImageFeatures, rows: Sequence[int]) -> Tensor:
    """Patch tokens (N, P, W) of the pictures of items, zeros of an item without one, whose row is -1."""
    assert found.tokens is not None
    if min(rows) >= 0:
        return found.part(rows).tokens  # type: ignore[return-value]
    none = found.tokens.new_zeros(1, *found.tokens.shape[1:])
    return torch.cat([found.tokens, none])[list(rows)]


def triplets_of(
    asked: tuple[ImageFeatures | None, Sequence[int]],
    texts: tuple[TextFeatures | None, Sequence[int]],
    held: tuple[ImageFeatures | None, Sequence[int]],
    wanted: Mapping[str, frozenset[str]],
) -> Triplets | None:
    """What a composer learns from; None where nothing is wanted, or no example of a batch is a triplet.

    Args:
        asked: features of the queries' pictures, and the row in them of each query, -1 for none.
        texts: likewise of all texts, the queries first; held: of the candidates' pictures, answers first.
        wanted: `Composer.learns_from`.
    """
    (shown, own), (words, said), (answers, others) = asked, texts, held
    rows = [i for i in range(len(own)) if min(own[i], said[i], others[i]) >= 0] if wanted else []
    if not rows or shown is None or words is None or answers is None:
        return None
    return Triplets(
        rows=rows,
        reference=shown.part([own[i] for i in rows]),
        text=words.part([said[i] for i in rows]),
        answer=answers.part([others[i] for i in rows]),
    )


def in_order(parts: Sequence[Tensor], places: Sequence[int]) -> Tensor:
    """Rows of several tensors as one, each at its place."""
    joined = parts[0] if len(parts) == 1 else torch.cat(list(parts))
    if list(places) == list(range(len(places))):
        return joined
    return joined[torch.tensor(places, device=joined.device).argsort()]


def wanted_of(
    rows: Sequence[int], others: Sequence[int], alone: frozenset[str], both: frozenset[str]
) -> frozenset[str]:
    """What is wanted of one input of these items; a row is -1 where an item lacks it, or the other one."""
    kinds = {other >= 0 for row, other in zip(rows, others, strict=True) if row >= 0}
    return frozenset[str]().union(*(both if kind else alone for kind in kinds))
