"""Compatibility scores against the loops of their definitions."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clplat.evaluation.compatibility import compatibility_scores

C = [[20.0, None, None], [20.0, 30.0, None], [26.0, 29.0, 40.0]]


def test_worked_example():
    scores = compatibility_scores(C, independent=[None, 36.0, 50.0])
    assert scores["AC"] == pytest.approx(1 / 3)  # (1, 0) ties, (2, 0) wins, (2, 1) loses
    assert scores["AC_ties"] == 1
    assert scores["AM"] == pytest.approx((20 + 20 + 30 + 26 + 29 + 40) / 6)
    assert scores["update_gain"] == pytest.approx((0 + 6 / 30 - 1 / 20) / 3)
    assert scores["update_gain_own"] == pytest.approx((0 + 6 / 20 - 1 / 10) / 3)
    assert scores["price"] == pytest.approx((-6 - 10) / 2)


triangles = st.integers(1, 5).flatmap(
    lambda v: st.tuples(
        *(st.lists(st.integers(0, 4).map(float), min_size=i + 1, max_size=i + 1) for i in range(v))
    )
)


@settings(max_examples=100, deadline=None)
@given(triangles)
def test_equal_to_the_definitions(rows):
    V = len(rows)
    matrix = [row + [None] * (V - len(row)) for row in rows]
    scores = compatibility_scores(matrix)
    assert scores["AM"] == pytest.approx(2 / (V * (V + 1)) * sum(sum(row) for row in rows))
    if V == 1:
        assert scores["AC"] is None
    else:
        wins = sum(rows[i][j] > rows[j][j] for i in range(V) for j in range(i))
        assert scores["AC"] == pytest.approx(2 / (V * (V - 1)) * wins)
    assert scores["AC_ties"] == sum(rows[i][j] == rows[j][j] for i in range(V) for j in range(i))
    assert scores["update_gain"] is None and scores["price"] is None
    assert compatibility_scores(rows) == scores


def test_nothing_to_gain_is_undefined():
    for best in (20.0, 19.0):
        assert compatibility_scores([[20.0], [30.0, 40.0]], independent=[None, best])["update_gain"] is None
    assert compatibility_scores([[20.0, None], [22.0, 20.0]])["update_gain_own"] is None


@pytest.mark.parametrize(
    "matrix, message",
    [
        ([], "no versions"),
        ([[1.0], [None, 2.0]], r"C\[1\]\[0\] is None"),
        ([[1.0], [2.0]], r"C\[1\]\[1\] is None"),
        ([[float("nan")]], r"C\[0\]\[0\] is nan"),
    ],
)
def test_bad_matrices_are_named(matrix, message):
    with pytest.raises(ValueError, match=message):
        compatibility_scores(matrix)
    with pytest.raises(ValueError, match="independent names 1 versions"):
        compatibility_scores(C, independent=[1.0])
