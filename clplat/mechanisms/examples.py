"""Split a batch of any shape into its examples and join examples to a batch: what a memory stores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from clplat.data.batch import Batch
from clplat.data.stored_rows import is_row

__all__ = [
    "at_rest",
    "content_bytes",
    "floats_on",
    "is_column",
    "join_examples",
    "labels_of",
    "length",
    "size_in_bytes",
    "split_batch",
    "take",
    "tensor_bytes",
]


def split_batch(batch: Any) -> list[Any]:
    """One tree per example. Knows our `Batch`, and tensors, lists, tuples and dicts of tensors.

    Example:
        >>> [row[1].item() for row in split_batch((torch.zeros(2, 3), torch.tensor([5, 6])))]
        [5, 6]
    """
    if isinstance(batch, Batch):
        return batch.rows()
    if isinstance(batch, Tensor):
        # Copies: a view would keep the whole batch in memory for one stored row.
        return [row.clone() for row in batch.detach().cpu()]
    if isinstance(batch, dict):
        columns = {key: split_batch(value) for key, value in batch.items()}
        return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    if isinstance(batch, list | tuple) and any(map(is_column, batch)):
        return [tuple(values) for values in zip(*(split_batch(part) for part in batch), strict=True)]
    if isinstance(batch, list | tuple):
        return list(batch)
    raise TypeError(f"a memory cannot split a batch of type {type(batch).__name__}")


def length(batch: Any) -> int:
    """The number of examples of a batch of any shape that `split_batch` knows."""
    if isinstance(batch, dict):
        return length(next(iter(batch.values())))
    if isinstance(batch, list | tuple) and any(map(is_column, batch)):
        return length(batch[0])
    return len(batch)


def labels_of(batch: Any) -> Tensor | None:
    """The labels of a batch ``(x, y, ...)``: one integer per example; None where there are none."""
    found = batch[1] if isinstance(batch, tuple | list) and len(batch) > 1 else None
    if isinstance(found, Tensor) and found.ndim == 1 and not found.is_floating_point():
        return found
    return None


def take(batch: Any, rows: Sequence[int]) -> Any:
    """The batch of these examples alone; pictures that are not asked for are not decoded.

    Example:
        >>> take([torch.tensor([5, 6, 7]), torch.zeros(3, 2)], [2])[0]
        tensor([7])
    """
    if isinstance(batch, Batch):
        return batch.part(rows)
    if isinstance(batch, Tensor):
        return batch[list(rows)]
    if isinstance(batch, dict):
        return {key: take(value, rows) for key, value in batch.items()}
    if isinstance(batch, list | tuple) and any(map(is_column, batch)):
        return [take(part, rows) for part in batch]
    return [batch[i] for i in rows]


def is_column(part: Any) -> bool:
    """A tensor, a `Batch`, or a tuple or dict of tensors: a column of a batch, and no example of its own."""
    if isinstance(part, dict):
        return any(map(is_column, part.values()))
    return isinstance(part, Tensor | Batch) or (isinstance(part, tuple) and any(map(is_column, part)))


def join_examples(rows: Sequence[Any]) -> Any:
    """The inverse of `split_batch`."""
    first = rows[0]
    if is_row(first):
        return Batch.from_rows(rows)
    if isinstance(first, Tensor):
        other = next((row for row in rows if row.shape != first.shape), None)
        if other is not None:
            raise ValueError(
                f"a memory joins rows of one shape, not {tuple(first.shape)} and {tuple(other.shape)}: "
                "pad texts to one length"
            )
        return torch.stack(list(rows))
    if isinstance(first, dict):
        return {key: join_examples([row[key] for row in rows]) for key in first}
    if isinstance(first, tuple):
        return [join_examples(list(column)) for column in zip(*rows, strict=True)]
    return list(rows)


def at_rest(node: Any) -> Any:
    """A tree of examples with every tensor on the CPU, where `split_batch` leaves them."""
    if isinstance(node, Tensor):
        return node.cpu()
    if isinstance(node, dict):
        return {key: at_rest(value) for key, value in node.items()}
    if isinstance(node, list | tuple):
        return type(node)(map(at_rest, node))
    return node


def floats_on(device: torch.device, node: Any) -> Any:
    """A tree of a state with what is computed with on a device; pixels, token ids, generators stay."""
    if isinstance(node, Tensor):
        return node.to(device) if node.is_floating_point() else node
    if isinstance(node, dict):
        return {key: floats_on(device, value) for key, value in node.items()}
    if isinstance(node, list | tuple):
        return type(node)(floats_on(device, value) for value in node)
    return node


def size_in_bytes(row: Any) -> int:
    """Bytes that an example takes at rest: tensors by their storage, texts in UTF-8, numbers 8, None 0."""
    if row is None:
        return 0
    if isinstance(row, Tensor) and row.ndim:
        return row.numel() * row.element_size()
    if isinstance(row, dict):
        return sum(size_in_bytes(value) for value in row.values())
    if isinstance(row, list | tuple):
        return sum(size_in_bytes(value) for value in row)
    return len(row.encode()) if isinstance(row, str) else 8


def content_bytes(data: Any, collate: Callable[[list[Any]], Any]) -> int:
    """Bytes of the examples of a data set if a memory held them.

    Args:
        data: a sequence of examples.
        collate: joins examples to a batch.

    Example:
        >>> content_bytes([torch.zeros(3), torch.zeros(3)], torch.stack)
        24
    """
    found = 0
    for start in range(0, len(data), 256):
        batch = collate([data[i] for i in range(start, min(start + 256, len(data)))])
        found += sum(map(size_in_bytes, split_batch(batch)))
    return found


def tensor_bytes(node: Any) -> int:
    """Bytes of all tensors in a tree; plain values cost nothing."""
    if isinstance(node, Tensor):
        return node.numel() * node.element_size()
    if isinstance(node, dict):
        return sum(map(tensor_bytes, node.values()))
    return sum(map(tensor_bytes, node)) if isinstance(node, list | tuple) else 0
