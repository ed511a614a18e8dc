"""Composers that learn statistics of training data: fitted after every experience, before it is measured."""

from __future__ import annotations

from itertools import chain

import torch

from clplat.errors import UserError
from clplat.runs.assembly import Assembly
from clplat.runs.evenly import evenly

__all__ = ["fit_composer"]


def fit_composer(parts: Assembly, version: int, limit: int) -> None:
    """Fit the composer on the domains that a version has seen.

    Args:
        version: number of experiences behind the model; the untrained one has seen no training data.
        limit: training queries at most, evenly over domains and over each domain's data.

    Raises:
        UserError: a composer that is fitted and no training query of a picture with words.
    """
    retriever, seen = parts.retriever, parts.domains[:version]
    if not seen or not retriever.composer.fits:
        return
    share = max(1, limit // len(seen))
    examples = list(chain.from_iterable(evenly(domain.train, share) for domain in seen))
    rows = [
        (one.query.picture, one.query.text, one.target.picture)
        for one in examples
        if one.query.picture is not None and one.query.text and one.target.picture is not None
    ]
    if not rows:
        said = ", ".join(domain.name for domain in seen)
        raise UserError(
            f"{said} has no training query of a picture with words that the composer could be fitted on"
        )
    embed = parts.evaluator.embed
    shown, said_, held = zip(*rows, strict=True)
    found = [
        embed.images(retriever, shown, raw=True),
        embed.texts(retriever, said_, raw=True),
        embed.images(retriever, held, raw=True),
    ]
    device = retriever.backbone.logit_scale.device
    with torch.no_grad():
        retriever.composer.fit(*(tensor.to(device) for tensor in found))
