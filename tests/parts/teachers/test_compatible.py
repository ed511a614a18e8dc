"""The compatible teacher against CTP's recursion, by hand."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from torch import nn

from clplat.parts.teachers.compatible import Compatible


def test_it_absorbs_the_model_and_the_previous_one_alike() -> None:
    model, teacher, expected = nn.Linear(1, 1), Compatible(decay=0.8), 0.0
    learner: Any = SimpleNamespace(model=model, pretrained=True)
    for before in (1.0, 3.0):
        nn.init.constant_(model.weight, before)
        teacher.begin(learner)
        expected = before  # it begins again with each domain
        for now in (2.0, -1.0, 4.0):
            nn.init.constant_(model.weight, now)
            teacher.follow(learner)
            expected = 0.8 * expected + 0.1 * now + 0.1 * before
            tensors = teacher.state_dict()["held"]["tensors"]
            assert float(tensors["weight"]) == pytest.approx(expected, rel=1e-5)


def test_a_share_outside_its_range_is_refused() -> None:
    with pytest.raises(ValueError, match=r"decay must lie in \[0, 1\], not 2"):
        Compatible(decay=2.0)
