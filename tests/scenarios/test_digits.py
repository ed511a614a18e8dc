"""Scikit-learn's digits as a stream of classes."""

from __future__ import annotations

from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from clplat.runs.experiment import run
from clplat.testing import ScenarioContract
from scenarios.digits import Digits


class TestDigits(ScenarioContract):
    def make(self) -> Digits:
        return Digits(experiences=2)


def test_every_digit_is_there_once_with_its_own_label() -> None:
    x, y = load_digits(return_X_y=True)
    words = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
    domains, _ = Digits().build()
    assert [len(domain.test.gallery.items) for domain in domains] == [10] * 5
    assert [len(domain.sets["test/own"].gallery.items) for domain in domains] == [2] * 5
    shown = {example.query.key: example.label for domain in domains for example in domain.train}
    for domain in domains:
        for held in (domain.val, domain.test):
            shown |= {query.id: query.targets[0] for query in held.queries}
    assert len(shown) == 1797 == Digits.published["digits/pictures"]
    assert shown == {f"digits/{i:04d}": f"digits/{words[label]}" for i, label in enumerate(y)}
    picture = domains[0].test.queries[0].reference
    assert picture is not None
    row = x[int(picture.key[-4:])].reshape(8, 8)
    assert np.array_equal(np.asarray(picture.load())[..., 0], row * 15)


def test_a_shuffled_stream_holds_the_same_digits() -> None:
    usual, shuffled = Digits(experiences=5).build()[0], Digits(experiences=5, shuffle=1).build()[0]
    own = [[item.key for item in d.sets["test/own"].gallery.items] for d in (*usual, *shuffled)]
    assert {*chain(*own[:5])} == {*chain(*own[5:])} and own[:5] != own[5:]


def test_training_on_digits_is_measured_as_transfer_average_and_last(
    small_backbone: Path, tmp_path: Path
) -> None:
    raw = {
        "scenario": {"name": "digits", "experiences": 2, "among": "own"},
        "backbone": f"local-dir:{small_backbone}",
        "loss": {"name": "info_nce", "symmetric": True},
        "train": {"epochs": 1, "lr": 1e-3},
        "probes": "none",
    }
    result = run(raw, tmp_path / "run")
    table = torch.tensor(result["metrics"]["R@1"], dtype=torch.float64)
    last = result["scores"][-1]
    assert result["status"] == "complete" and table[1, 0] > table[0, 0] + 10
    assert last["transfer"] == pytest.approx(table[1, 1].item())
    assert last["acc_all"] == pytest.approx(table[1:].mean().item())
    assert last["acc_last"] == pytest.approx(table[2].mean().item())
