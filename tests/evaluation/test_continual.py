"""Every continual score against the loops of its definition, on whole matrices and on prefixes."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clplat.evaluation.continual import continual_scores, score_rows, zs_drop, zs_retention

#: Rows -1, 0, 1, 2 (experiences) x 3 domains.
R = [
    [30.0, 20.0, 10.0],
    [60.0, 22.0, 16.0],
    [50.0, 70.0, 12.0],
    [44.0, 76.0, 80.0],
]

#: Worked by hand from the definitions.
EXPECTED = {
    "acc_last": (44 + 76 + 80) / 3,
    "acc_all": (60 + 22 + 16 + 50 + 70 + 12 + 44 + 76 + 80) / 9,
    "acc_incremental": (60 + (50 + 70) / 2 + (44 + 76 + 80) / 3) / 3,
    "transfer": (22 + (16 + 12) / 2) / 2,
    "transfer_rows": ((22 + 16) / 2 + 12) / 2,
    "bwt": ((44 - 60) + (76 - 70)) / 2,
    "fwt_init": ((22 - 20) + (12 - 10)) / 2,
    "forgetting_first": ((60 - 44) + (70 - 76)) / 2,
    "forgetting_max": ((60 - 44) + 0) / 2,
    "zs_lost": 0.0,
    "plasticity": (60 + 70 + 80) / 3,
    "backward": (50 + 44 + 76) / 3,
    "forward": (22 + 16 + 12) / 3,
}


def slow(matrix, trained):
    """The definitions of metrics.md with their own indices: a[t][j] with a[-1] the zero-shot row."""
    a = {t: matrix[t + 1][:trained] for t in range(-1, trained)}
    T = trained
    out = dict.fromkeys(EXPECTED)
    if T >= 1:
        out["acc_last"] = sum(a[T - 1][j] for j in range(T)) / T
        out["acc_all"] = sum(a[t][j] for t in range(T) for j in range(T)) / T**2
        out["acc_incremental"] = sum(sum(a[t][j] for j in range(t + 1)) / (t + 1) for t in range(T)) / T
        out["plasticity"] = sum(a[j][j] for j in range(T)) / T
        untaught = [max(a[t][j] for t in range(-1, j)) for j in range(T)]
        out["zs_lost"] = sum(max(untaught[j] - a[T - 1][j], 0) for j in range(T)) / T
    if T >= 2:
        columns = [[a[t][j] for t in range(j)] for j in range(1, T)]
        out["transfer"] = sum(sum(c) / len(c) for c in columns) / (T - 1)
        rows = [[a[t][j] for j in range(t + 1, T)] for t in range(T - 1)]
        out["transfer_rows"] = sum(sum(r) / len(r) for r in rows) / (T - 1)
        out["bwt"] = sum(a[T - 1][j] - a[j][j] for j in range(T - 1)) / (T - 1)
        out["fwt_init"] = sum(a[j - 1][j] - a[-1][j] for j in range(1, T)) / (T - 1)
        out["forgetting_first"] = sum(a[j][j] - a[T - 1][j] for j in range(T - 1)) / (T - 1)
        best = [max(a[t][j] for t in range(j, T)) for j in range(T)]
        out["forgetting_max"] = sum(best[j] - a[T - 1][j] for j in range(T - 1)) / (T - 1)
        below = [a[t][j] for t in range(T) for j in range(t)]
        above = [a[t][j] for t in range(T) for j in range(t + 1, T)]
        out["backward"], out["forward"] = sum(below) / len(below), sum(above) / len(above)
    return out


def close(found, expected):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name] is None if value is None else found[name] == pytest.approx(value, abs=1e-9), name


def test_worked_example():
    close(continual_scores(R), EXPECTED)
    close(slow(R, 3), EXPECTED)


def test_what_was_known_before_its_training_is_no_forgetting():
    """Zero-shot 70, 64 by transfer, 10 when it is trained, 10 at the end: training forgot nothing of it."""
    found = continual_scores([[50.0, 70.0, 5.0], [60.0, 64.0, 5.0], [60.0, 10.0, 5.0], [60.0, 10.0, 5.0]])
    assert found["forgetting_max"] == 0
    assert found["zs_lost"] == (70 - 10) / 3


matrices = st.integers(1, 5).flatmap(
    lambda n: st.lists(st.lists(st.floats(0, 100), min_size=n, max_size=n), min_size=1, max_size=n + 1)
)


@settings(max_examples=100, deadline=None)
@given(matrices)
def test_all_scores_equal_their_definition_at_every_prefix(matrix):
    rows = score_rows(matrix)
    assert len(rows) == len(matrix)
    for trained, scores in enumerate(rows):
        close(scores, slow(matrix, trained))
        if trained >= 2:
            assert scores["forgetting_max"] >= 0
            assert scores["bwt"] == pytest.approx(-scores["forgetting_first"])


def test_a_prefix_is_the_stream_cut_off_there():
    cut = [row[:2] for row in R[:3]]
    assert score_rows(R)[2] == continual_scores(cut)
    assert continual_scores(R[:3]) == continual_scores(cut)


def test_scores_do_not_change_their_argument():
    copy = [list(row) for row in R]
    continual_scores(copy)
    assert copy == R


def test_undefined_scores_are_none():
    assert set(score_rows(R)[0].values()) == {None}
    defined = {name for name, value in score_rows(R)[1].items() if value is not None}
    assert defined == {"acc_last", "acc_all", "acc_incremental", "plasticity", "zs_lost"}


@pytest.mark.parametrize(
    "matrix, message",
    [
        ([], "no rows"),
        ([[1.0, 2.0], [1.0]], "different lengths"),
        ([[1.0], [2.0], [3.0]], "2 trained rows for 1 domains"),
        ([[1.0], [float("nan")]], r"R\[1\]\[0\] is nan"),
    ],
)
def test_bad_matrices_are_named(matrix, message):
    with pytest.raises(ValueError, match=message):
        continual_scores(matrix)


def test_probe_series():
    assert zs_drop([50.0, 52.0, 40.0]) == 10.0
    assert zs_retention([50.0, 52.0, 40.0]) == 80.0
    assert zs_drop([50.0]) == 0.0 and zs_retention([50.0]) == 100.0
    assert zs_drop([]) is None and zs_retention([]) is None
    assert zs_retention([0.0, 10.0]) is None
