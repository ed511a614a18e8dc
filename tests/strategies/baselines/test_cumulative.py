"""Cumulative trains on everything so far."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from clplat.training.strategy import Strategy
from strategies import Cumulative


def test_cumulative_trains_on_all_domains_so_far() -> None:
    stream: list[Any] = []
    for i in range(3):
        stream.append(
            SimpleNamespace(dataset=[10 * i, 10 * i + 1], current_experience=i, origin_stream=stream)
        )
    data = Cumulative().training_set(stream[1])
    assert [data[i] for i in range(len(data))] == [0, 1, 10, 11]
    assert Strategy().training_set(stream[1]) == [10, 11]
