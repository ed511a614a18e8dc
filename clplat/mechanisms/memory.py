"""Exemplar memories: what they keep is content, not pointers into a data set, and is counted in bytes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch

from clplat.mechanisms.examples import at_rest, join_examples, length, size_in_bytes, split_batch, take
from clplat.randomness import generator

__all__ = ["Memory"]


class Collates(Protocol):
    """What a memory asks of the loop that it is filled in: to join examples to a batch."""

    def collate(self, examples: list[Any]) -> Any: ...


@dataclass(frozen=True)
class _Place:
    """Stands for a row of the batch on offer."""

    row: int


class Memory:
    """A bounded set of examples of earlier experiences.

    Args:
        size: examples at most.
        policy: ``"reservoir"``: every example seen so far is kept with equal chance (Vitter 1985);
            ``"balanced"``: every experience has an equal share, earlier shares shrink as new ones come;
            ``"queue"``: the newest stay.
        seed: of its own generator.

    Example:
        >>> memory = Memory(size=2, policy="balanced", seed=0)
        >>> memory.bytes()
        0
    """

    def __init__(self, size: int, policy: Literal["reservoir", "balanced", "queue"], seed: int) -> None:
        if size < 1:
            raise ValueError(f"a memory holds at least one example, not {size}")
        self.size, self.policy = size, policy
        self._generator = generator(seed, "memory")
        self._seen = 0
        self._offered: dict[str, int] = {}
        self._groups: dict[str, list[Any]] = {}

    def __len__(self) -> int:
        return sum(len(rows) for rows in self._groups.values())

    def bytes(self) -> int:
        """Bytes of all stored examples."""
        return sum(size_in_bytes(row) for rows in self._groups.values() for row in rows)

    def _integer(self, high: int) -> int:
        return int(torch.randint(high, (1,), generator=self._generator))

    def add(self, learner: Collates, data: Any) -> None:
        """Choose among the examples of an experience and store the chosen ones.

        Args:
            learner: joins examples to a batch.
            data: what was trained on, ``learner.data()``.
        """
        group = str(len(self._groups))
        if self.policy == "balanced":
            *shares, room = _shares(self.size, [*map(len, self._groups.values()), len(data)])
            for (key, rows), share in zip(self._groups.items(), shares, strict=True):
                order = torch.randperm(len(rows), generator=self._generator)[:share].sort().values
                self._groups[key] = [rows[i] for i in order.tolist()]
            chosen = torch.randperm(len(data), generator=self._generator)[:room].sort().values.tolist()
            self._groups[group] = split_batch(learner.collate([data[i] for i in chosen])) if chosen else []
            self._seen += len(data)
            return
        if self.policy == "queue":
            newest = range(max(0, len(data) - self.size), len(data))
            self.offer(learner.collate([data[i] for i in newest]), group)
            return
        slots: list[tuple[str, int]] = [
            (key, i) for key, rows in self._groups.items() for i in range(len(rows))
        ]
        for i in range(len(data)):
            self._seen += 1
            if len(slots) < self.size:
                slots.append((group, i))
            elif (place := self._integer(self._seen)) < self.size:
                slots[place] = (group, i)
        fresh = [i for key, i in slots if key == group]
        kept = {key: [rows[i] for k, i in slots if k == key] for key, rows in self._groups.items()}
        kept[group] = split_batch(learner.collate([data[i] for i in fresh])) if fresh else []
        self._groups = kept

    def offer(self, batch: Any, group: str) -> None:
        """Choose among examples as they come, during training; what is not chosen is not decoded.

        Args:
            batch: of any shape that `split_batch` knows; a tuple of the batch and of what the model put out
                for it, say.
            group: names the experience; a batch of `sample` is of one group unless it is mixed.

        Example:
            >>> memory = Memory(size=2, policy="queue", seed=0)
            >>> memory.offer((torch.zeros(5, 3), torch.arange(5)), "first domain")
            >>> memory.sample(2)[1].sort().values
            tensor([3, 4])
        """
        held = self._groups.setdefault(group, [])
        for i in range(length(batch)):
            self._seen += 1
            self._offered[group] = self._offered.get(group, 0) + 1
            if len(self) < self.size or self._make_room(group):
                held.append(_Place(i))
        places = [row for row in held if isinstance(row, _Place)]
        if places:
            rows = split_batch(take(batch, [place.row for place in places]))
            held[len(held) - len(rows) :] = rows

    def _make_room(self, group: str) -> bool:
        """Remove one row of a full memory for one of this group, unless the draw is against it."""
        rows, held = [*self._groups.values()], self._groups[group]
        largest = max(rows, key=len)
        if self.policy == "queue":
            next(filter(None, rows)).pop(0)
            return True
        if self.policy == "balanced" and len(held) < len(largest):
            largest.pop(self._integer(len(largest)))
            return True
        # Vitter's algorithm R, over the whole memory or within the group.
        whole = self.policy == "reservoir"
        place = self._integer(self._seen if whole else self._offered[group])
        for candidates in rows if whole else [held]:
            if place < len(candidates):
                candidates.pop(place)
                return True
            place -= len(candidates)
        return False

    def sample(
        self, count: int, mixed: bool = False, join: Callable[[list[Any]], Any] = join_examples
    ) -> Any | None:
        """A batch of up to ``count`` stored examples; None where there are none.

        Args:
            count: examples at most; of one experience at least two.
            mixed: of all experiences together, as a loss over classes wants them; else of one experience,
                because the negatives of a contrastive batch are then as hard as in training: across domains
                they would be told apart by their style alone. An experience of which one example is left has
                no negatives to offer and is passed over; a full memory of one of each, as after a long stream
                of short experiences, has them together.
            join: makes a batch of examples.
        """
        mixed = mixed or self._one_of_each()
        groups = [rows for rows in self._groups.values() if len(rows) > 1 or mixed]
        if not any(groups):
            return None
        rows = [row for group in groups for row in group] if mixed else groups[self._integer(len(groups))]
        order = torch.randperm(len(rows), generator=self._generator)[: count if mixed else max(2, count)]
        return join([rows[i] for i in order.tolist()])

    def _one_of_each(self) -> bool:
        """Whether the memory is full, of experiences with one example each."""
        return len(self) == self.size > 1 and all(len(rows) < 2 for rows in self._groups.values())

    def sample_each(self, count: int) -> list[Any]:
        """One batch of every stored experience, about ``count`` examples together, two each at least.

        As in `sample`, an experience of which one example is left is passed over.
        """
        groups = [rows for rows in self._groups.values() if len(rows) > 1]
        if self._one_of_each():
            groups = [[row for rows in self._groups.values() for row in rows]]
        batches = []
        for rows in groups:
            order = torch.randperm(len(rows), generator=self._generator)[: max(2, count // len(groups))]
            batches.append(join_examples([rows[i] for i in order.tolist()]))
        return batches

    def state_dict(self) -> dict[str, Any]:
        own = {"seen": self._seen, "offered": self._offered, "groups": self._groups}
        return own | {"generator": self._generator.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        # At rest on the CPU, as rows that are added later: what resumes on a device moves numbers there.
        self._seen, self._groups = state["seen"], at_rest(state["groups"])
        self._offered = state.get("offered", {})
        self._generator.set_state(state["generator"])


def _shares(size: int, available: list[int]) -> list[int]:
    """Places for each experience: as equal as what is available allows, ``size`` in all."""
    shares, left = [0] * len(available), size
    order = sorted(range(len(available)), key=lambda i: available[i])
    for rank, i in enumerate(order):
        shares[i] = min(available[i], left // (len(order) - rank))
        left -= shares[i]
    return shares
