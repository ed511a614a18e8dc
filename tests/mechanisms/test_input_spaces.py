"""Bases of earlier inputs: what share of the energy they hold, and that they grow and are kept."""

from __future__ import annotations

import pytest
import torch

from clplat.mechanisms.input_spaces import InputSpaces


def test_a_basis_holds_its_share_and_what_it_held_before() -> None:
    spaces = InputSpaces(threshold=0.75, growth=0.2)
    spaces.add({"a": torch.diag(torch.tensor([6.0, 3.0, 1.0]))})
    assert spaces.bases["a"].shape == (3, 2), "0.6 is too little, 0.9 enough"
    spaces.add({"a": torch.diag(torch.tensor([0.0, 0.0, 1.0]))})
    basis = spaces.bases["a"]
    assert basis.shape == (3, 3) and torch.allclose(basis @ basis.T, torch.eye(3), atol=1e-6)


def test_it_goes_on_from_what_was_kept() -> None:
    spaces, again = InputSpaces(0.9), InputSpaces(0.9)
    spaces.add({"a": torch.eye(2)})
    again.load_state_dict(spaces.state_dict())
    assert again.domains == 1 and torch.equal(again.bases["a"], spaces.bases["a"])


@pytest.mark.parametrize(("threshold", "growth"), [(0.0, 0.0), (1.5, 0.0), (0.5, -0.1)])
def test_wrong_shares_are_refused(threshold: float, growth: float) -> None:
    with pytest.raises(ValueError, match=r"threshold must be in \(0, 1\] and growth at least 0"):
        InputSpaces(threshold, growth)
