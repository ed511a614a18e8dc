"""What a batch of stored examples is made of: how many, and from which experiences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from clplat.mechanisms.examples import join_examples
from clplat.mechanisms.memory.store import Memory
from clplat.models.outputs import are_embeddings

__all__ = ["Domains", "enough", "stored_batch"]

#: Which experiences a batch of stored examples is drawn from.
Domains = Literal["auto", "one", "all"]


def stored_batch(
    memory: Memory,
    count: int,
    outputs: Any,
    domains: Domains = "auto",
    join: Callable[[list[Any]], Any] = join_examples,
    without: str | None = None,
) -> Any | None:
    """A batch of up to ``count`` stored examples as the loss wants them; None where there are none.

    The examples of a contrastive loss are each other's negatives, and those of another domain are too easy: a
    batch is of one. A softmax over classes needs all of them against each other in every step. How many new
    examples stand beside them is the loop's own batch size.

    Args:
        memory: drawn from.
        count: examples at most.
        outputs: of the model, for any batch: they say which of the two losses it is.
        domains: ``"one"``, ``"all"`` together, or by the outputs (``"auto"``).
        join: makes a batch of examples.
        without: a group that is left out, as that of the experience that is trained on.
    """
    mixed = domains == "all" or (domains == "auto" and not are_embeddings(outputs))
    return memory.sample(count, mixed, join, without)


def enough(batch_size: int) -> int:
    """The size of a batch of stored examples, if it is one.

    Raises:
        ValueError: it is less than two.
    """
    if batch_size < 2:
        raise ValueError(f"batch_size must be at least 2 (the negatives are in the batch), not {batch_size}")
    return batch_size
