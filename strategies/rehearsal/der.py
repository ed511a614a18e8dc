"""DER++: rehearse stored exemplars, and what the model put out for them when they were stored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import torch
from torch import Tensor
from torch.nn.functional import normalize
from torch.nn.utils.rnn import pad_sequence

from clplat.config.space import Float, Int
from clplat.mechanisms.examples import join_examples, labels_of
from clplat.mechanisms.memory import Memory
from clplat.mechanisms.memory.composition import enough, stored_batch
from clplat.mechanisms.per_example import rows_of, squared_distances
from clplat.mechanisms.teacher import Teacher, snapshot
from clplat.training.strategy import Strategy, SupportsLearning

__all__ = ["DER"]


class DER(Strategy):
    """Dark experience replay: stored exemplars keep their labels and the embeddings that they once had.

    ``loss = task(batch) + alpha * mean_i (|q_i - q'_i|^2 + |t_i - t'_i|^2) / 2 + beta * task(memory batch)``

    The memory is a reservoir that fills during training, after every step, so that q' and t', the unit
    embeddings of query and target, are those of many models along the way. Both terms draw a batch of their
    own, of one domain where the outputs are embeddings and of all for logits (see `Replay`). In-batch scores
    would be no target: they mean nothing beside other candidates.

    By ``renew`` what is stored of an experience's own examples is taken anew when it is over: early in it the
    model did not know them yet, and that is no knowledge to keep.

    By ``gamma`` what is stored of earlier experiences is brought up to date as well (X-DER). The
    logits of classes that were first met in it were no knowledge when they were stored: those of the model as
    it is now take their place, scaled so that the largest is ``gamma`` times that of the right class where it
    would exceed that one. Embeddings have no such places, and keep a share:
    ``q' <- unit(gamma q' + (1 - gamma) q)``.

    Args:
        size: exemplars in the memory, over all domains.
        batch_size: exemplars per step, for each of the two terms.
        alpha: weight of the embeddings' term.
        beta: weight of the task's loss on exemplars; 0 is DER without the labels.
        seed: of the memory; by default the experiment's.
        gamma: how what is stored follows what was learnt since; not at all unless given.
        renew: outputs of an experience's own examples are those of the model at its end; False, as the paper,
            leaves those of the steps in which they were stored.

    References:
        Buzzega et al. 2020, Dark Experience for General Continual Learning, arXiv 2004.07211; Boschini et al.
        2022 (X-DER), Class-Incremental Continual Learning into the eXtended DER-verse, arXiv 2201.00766.

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
    state = ("_met",)
    shares = False  # the memory fills with what this process trains on

    def __init__(
        self,
        size: Annotated[int, Int(50, 1000, log=True)] = 200,
        batch_size: int = 64,
        alpha: Annotated[float, Float(0.03, 30.0, log=True)] = 1.0,
        beta: Annotated[float, Float(0.25, 4.0, log=True)] = 1.0,
        seed: int | None = None,
        gamma: float | None = None,
        renew: bool = True,
    ) -> None:
        if not (alpha >= 0 and beta >= 0 and 0 <= (gamma or 0) <= 1):
            raise ValueError(
                f"alpha and beta must be at least 0 and gamma in [0, 1], not {alpha}, {beta} and {gamma}"
            )
        self.size, self.batch_size, self.seed = size, enough(batch_size), seed
        self.alpha, self.beta, self.gamma, self.renew = alpha, beta, gamma, renew
        self.memory = Memory(size, "reservoir", seed or 0)
        self._met: dict[str, int] = {}

    def loss(self, learner: SupportsLearning, batch: Any, outputs: Any) -> dict[str, Tensor]:
        stored, again = (stored_batch(self.memory, self.batch_size, outputs, join=_joined) for _ in range(2))
        if stored is None or again is None:
            return {}
        (examples, *then), (labelled, *_) = stored, again
        now = rows_of(learner.predict(examples))
        apart = [squared_distances(new, old.to(new.device)) for new, old in zip(now, then, strict=True)]
        return {
            "dark": self.alpha * torch.stack(apart).mean(),
            "replay": self.beta * learner.task_loss(labelled, learner.predict(labelled)),
        }

    def after_step(self, learner: SupportsLearning, batch: Any, outputs: Any) -> None:
        self.memory.offer((batch, *rows_of(outputs)), str(learner.progress.experience))
        if self.gamma is not None and (classes := labels_of(batch)) is not None:
            for number in {*classes.tolist()}:
                self._met.setdefault(str(number), learner.progress.experience)

    def after_experience(self, learner: SupportsLearning, experience: Any) -> None:
        current = learner.progress.experience
        new = [int(number) for number, first in self._met.items() if first == current]
        for group, rows in self.memory.groups.items():
            own = group == str(current)
            if not (self.renew if own else self.gamma is not None):
                continue
            for start in range(0, len(rows), self.batch_size):
                stop = start + self.batch_size
                rows[start:stop] = self._renewed(learner, rows[start:stop], None if own else new)

    def _renewed(self, learner: SupportsLearning, rows: list[Any], new: list[int] | None) -> list[Any]:
        """Stored rows with what the model says of them now: all of it, or as far as they follow it.

        Args:
            new: classes first met in this experience, for rows of earlier ones.
        """
        examples, *then = _joined(rows)
        model = Teacher(snapshot(learner.model, statistics=True), "momentum")  # evaluation mode, no gradients
        later = [row.cpu() for row in rows_of(model.outputs(learner, examples))]
        if new is not None:
            later = _followed(then, later, labels_of(examples), new, self.gamma or 0.0)
        return [(row[0], *(column[i].clone() for column in later)) for i, row in enumerate(rows)]

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict({"met": {}, **state})  # older runs have had no classes

    def memory_bytes(self) -> int:
        return self.memory.bytes()


def _followed(
    then: list[Tensor], now: list[Tensor], classes: Tensor | None, new: list[int], gamma: float
) -> list[Tensor]:
    """Rows stored in an earlier experience, as far as they follow what the model says of them now."""
    if len(now) == 1:
        return then if classes is None or not new else [_with_later(then[0], now[0], classes, new, gamma)]
    pairs = zip(then, now, strict=True)
    return [normalize(gamma * old + (1 - gamma) * own, dim=-1) for old, own in pairs]


def _with_later(old: Tensor, now: Tensor, classes: Tensor, new: list[int], gamma: float) -> Tensor:
    """Stored logits (B, K) with those of classes that were met later, below those of the right ones."""
    found = old.new_full(now.shape, torch.nan)
    found[:, : old.shape[1]] = old
    right = found.gather(1, classes[:, None])
    largest = now[:, new].amax(1, keepdim=True)
    scale = torch.where(largest > right, gamma * right / largest, 1.0)
    found[:, new] = scale * now[:, new]
    return found


def _joined(rows: list[Any]) -> list[Any]:
    """A batch of examples and outputs; logits from before a head grew end in NaN: they were not there."""
    examples, *then = zip(*rows, strict=True)
    return [join_examples(examples), *(_stacked(column) for column in then)]


def _stacked(rows: Sequence[Tensor]) -> Tensor:
    alike = all(row.shape == rows[0].shape for row in rows)
    return torch.stack([*rows]) if alike else pad_sequence([*rows], True, padding_value=torch.nan)
