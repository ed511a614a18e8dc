"""Equal rows are found, whatever the sums of their bits are, and get the same bits."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as some

from clplat.mechanisms import equal_rows
from clplat.mechanisms.equal_rows import first_of_equals, same_for_equals

NUMBERS = some.sampled_from([0.0, -0.0, 1.0, -1.0, 1.0 + 2**-23])


@settings(max_examples=30, deadline=None)
@given(some.lists(some.tuples(NUMBERS, NUMBERS), min_size=1, max_size=12))
def test_each_row_names_the_first_that_equals_it(rows: list[tuple[float, float]]) -> None:
    first = [next(i for i, other in enumerate(rows) if other == row) for row in rows]
    found = first_of_equals(torch.tensor(rows))
    assert (list(range(len(rows))) if found is None else found.tolist()) == first


def test_sums_that_are_equal_by_chance_make_no_rows_equal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(equal_rows, "_sums", lambda rows: torch.zeros(len(rows), dtype=torch.long))
    first = first_of_equals(torch.eye(3))
    assert first is not None and first.tolist() == [0, 1, 2]


def test_what_is_made_of_equal_rows_has_the_same_bits() -> None:
    rows = torch.tensor([[1.0, 2.0], [3.0, 4.0], [1.0, 2.0]])
    made = torch.tensor([0.1, 0.2, 0.3])
    assert torch.equal(same_for_equals(made, first_of_equals(rows)), torch.tensor([0.1, 0.2, 0.1]))
    assert torch.equal(same_for_equals(made.clone(), None), made)
