"""Composers that are fitted: on training data of the domains seen, kept with the version that it was for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import normalize

from clplat.config.resolve import resolve
from clplat.errors import UserError
from clplat.runs.assembly import assemble
from clplat.runs.experiment import run
from clplat.runs.fitting import fit_composer
from clplat.runs.load import load


def test_every_version_has_the_statistics_of_what_it_has_seen(small_backbone: Path, tmp_path: Path) -> None:
    sizes = {"domains": 2, "train": 16, "queries": 4, "gallery": 20, "size": 16}
    raw: dict[str, Any] = {
        "backbone": f"local-dir:{small_backbone}",
        "scenario": {"name": "catalogue", **sizes},
        "strategy": "frozen",
        "adapter": "none",
        "composer": "whitened",
        "evaluation": {"anchors": 16},
    }
    run(raw, tmp_path / "run")
    parts = assemble(resolve(raw))
    found: list[Any] = [load(tmp_path / "run", version).composer for version in range(3)]
    assert not found[0].image_mean.any(), "the untrained model has seen no training data"
    for version in (1, 2):
        # Sixteen queries at most, evenly over domains and over each domain's.
        some = [e for domain in parts.domains[:version] for e in list(domain.train)[::version]]
        said = parts.evaluator.embed.texts(parts.retriever, [e.text for e in some], raw=True)
        assert torch.allclose(found[version].text_mean, normalize(said, dim=1).mean(0), atol=1e-5)
    assert not torch.equal(found[1].image_mean, found[2].image_mean)

    parts.domains[0] = replace(parts.domains[0], train=())
    with pytest.raises(UserError, match="has no training query of a picture with words"):
        fit_composer(parts, 1, 16)
