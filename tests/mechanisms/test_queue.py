"""The queue of rows: first in first out, without gradients, through a file."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from clplat.mechanisms.queue import RowQueue
from clplat.trees import load_tree, save_tree


def test_the_oldest_leave_and_nothing_carries_a_gradient(tmp_path: Path) -> None:
    queue, rows = RowQueue(5), torch.arange(8.0).reshape(4, 2).requires_grad_()
    assert torch.equal(queue.behind(rows), rows) and queue.bytes() == 0
    queue.add(rows, [*"abcd"])
    queue.add(rows + 10)
    assert queue.rows is not None and not queue.rows.requires_grad
    assert queue.rows[:, 0].tolist() == [6.0, 10.0, 12.0, 14.0, 16.0]
    assert queue.names == ["d", "", "", "", ""] and queue.bytes() == 40
    assert queue.behind(rows).shape == (9, 2)
    save_tree(tmp_path / "queue.safetensors", queue.state_dict())
    fresh = RowQueue(5)
    fresh.load_state_dict(load_tree(tmp_path / "queue.safetensors"))
    assert fresh.names == queue.names and fresh.rows is not None and torch.equal(fresh.rows, queue.rows)


def test_a_queue_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one row, not 0"):
        RowQueue(0)
