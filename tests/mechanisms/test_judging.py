"""Judging by words, by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from clplat.mechanisms.judging import agreement, expected_level, holds, propositions, said_yes, wins


def test_propositions_are_what_is_added_and_what_is_taken_away() -> None:
    assert propositions("replace the dog with a cat and has no ball") == [
        ("cat", True),
        ("dog", False),
        ("ball", False),
    ]
    assert holds("long sleeves", "a top with long sleeves") and not holds("long sleeves", "a long top")
    assert (
        agreement("a red bag with a bow", "a red bag") == pytest.approx(2 / 3) and agreement("a", "") == 1.0
    )


@pytest.mark.parametrize(
    ("answer", "yes"),
    [("Yes", True), ("yes.", True), (" **Yes**, both", True), ("No: its eyes are shut", False), ("", False)],
)
def test_an_answer_is_yes_where_it_begins_so(answer: str, yes: bool) -> None:
    assert said_yes(answer) is yes


def test_soft_ratings_and_pairwise_sums_in_float64() -> None:
    rng = np.random.default_rng(0)
    p = rng.uniform(size=(4, 5))
    expected = (p / p.sum(1, keepdims=True)) @ np.arange(1, 6)
    np.testing.assert_allclose(expected_level(torch.tensor(p)), expected)
    first = rng.uniform(size=(2, 6, 6))
    slow = np.zeros((2, 6))
    for q in range(2):
        for i in range(6):
            for j in range(6):
                if i != j:  # i is shown first
                    slow[q, i] += first[q, i, j]
                    slow[q, j] += 1 - first[q, i, j]
    np.testing.assert_allclose(wins(torch.tensor(first)), slow, atol=1e-6)
