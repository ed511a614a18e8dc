"""DER++: rehearse stored exemplars, and what the model put out for them when they were stored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from clplat.config.space import Float, Int
from clplat.mechanisms.examples import join_examples
from clplat.mechanisms.memory import Memory
from clplat.mechanisms.memory.composition import stored_batch
from clplat.models.outputs import as_outputs
from clplat.training.strategy import Strategy, SupportsLearning

__all__ = ["DER"]


class DER(Strategy):
    """Dark experience replay: stored exemplars keep their labels and the embeddings that they once had.

    ``loss = task(batch) + alpha * mean_i (|q_i - q'_i|^2 + |t_i - t'_i|^2) / 2 + beta * task(memory batch)``

    The memory is a reservoir that fills during training, after every step, so that q' and t', the unit
    embeddings of query and target, are those of many models along the way. Both terms draw a batch of their
    own, of one domain where the outputs are embeddings and of all for logits (see `Replay`). In-batch scores
    would be no target: they mean nothing beside other candidates.

    Args:
        size: exemplars in the memory, over all domains.
        batch_size: exemplars per step, for each of the two terms.
        alpha: weight of the embeddings' term.
        beta: weight of the task's loss on exemplars; 0 is DER without the labels.
        seed: of the memory; by default the experiment's.

    References:
        Buzzega et al. 2020, Dark Experience for General Continual Learning, arXiv 2004.07211.

    Needs:
        A learner with ``predict`` and ``task_loss`` whose outputs are `clplat.parts.Outputs`, a pair of unit
        rows (B, D) and (C, D), the B targets first, or a tensor (B, ...), as logits.

    Relations:
        `Replay` is the second term alone, with a memory that fills after each domain; `Distill` asks an
        earlier model about new data instead of remembering what it said of old data.

    Example:
        >>> from strategies import DER
        >>> DER(size=100).memory_bytes()
        0
    """

    terms = ("dark", "replay")
    stores = "exemplars"
    shares = False  # the memory fills with what this process trains on

    def __init__(
        self,
        size: Annotated[int, Int(50, 1000, log=True)] = 200,
        batch_size: int = 64,
        alpha: Annotated[float, Float(0.1, 10.0, log=True)] = 1.0,
        beta: Annotated[float, Float(0.25, 4.0, log=True)] = 1.0,
        seed: int | None = None,
    ) -> None:
        if not (alpha >= 0 and beta >= 0 and batch_size >= 2):
            raise ValueError(
                "alpha and beta must be at least 0 and batch_size at least 2 (the negatives are in the "
                f"batch), not {alpha}, {beta} and {batch_size}"
            )
        self.size, self.batch_size, self.alpha, self.beta, self.seed = size, batch_size, alpha, beta, seed
        self.memory = Memory(size, "reservoir", seed or 0)

    def loss(self, learner: SupportsLearning, batch: Any, outputs: Any) -> dict[str, Tensor]:
        stored, again = (stored_batch(self.memory, self.batch_size, outputs, join=_joined) for _ in range(2))
        if stored is None or again is None:
            return {}
        (examples, *then), (labelled, *_) = stored, again
        now = _rows(learner.predict(examples))
        apart = [_apart(new, old.to(new.device)) for new, old in zip(now, then, strict=True)]
        return {
            "dark": self.alpha * torch.stack(apart).mean(),
            "replay": self.beta * learner.task_loss(labelled, learner.predict(labelled)),
        }

    def after_step(self, learner: SupportsLearning, batch: Any, outputs: Any) -> None:
        self.memory.offer((batch, *_rows(outputs)), str(learner.progress.experience))

    def memory_bytes(self) -> int:
        return self.memory.bytes()


def _rows(outputs: Any) -> list[Tensor]:
    """One row per example: of queries and of targets where the outputs are embeddings, else the outputs."""
    made = as_outputs(outputs)
    return [made] if isinstance(made, Tensor) else [made.query, made.candidates[: len(made.query)]]


def _joined(rows: list[Any]) -> list[Any]:
    """A batch of examples and outputs; logits from before a head grew end in NaN: they were not there."""
    examples, *then = zip(*rows, strict=True)
    return [join_examples(examples), *(_stacked(column) for column in then)]


def _stacked(rows: Sequence[Tensor]) -> Tensor:
    alike = all(row.shape == rows[0].shape for row in rows)
    return torch.stack([*rows]) if alike else pad_sequence([*rows], True, padding_value=torch.nan)


def _apart(new: Tensor, old: Tensor) -> Tensor:
    """Squared distances (B,) of rows; what a head has grown by since, or had not then (NaN), is left out."""
    new = new[:, : old.shape[1]] if old.ndim == 2 else new
    return torch.where(old.isnan(), 0.0, new - old).square().flatten(1).sum(1)
