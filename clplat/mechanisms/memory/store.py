"""Exemplar memories: what they keep is content, not pointers into a data set, and is counted in bytes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch.utils.data import Subset

from clplat.errors import unknown_name
from clplat.mechanisms.examples import at_rest, join_examples, length, size_in_bytes, split_batch, take
from clplat.mechanisms.memory.coresets import CORESETS, Coreset
from clplat.mechanisms.memory.descriptions import Describes, described
from clplat.mechanisms.memory.groups import by_group, reservoir, shares
from clplat.randomness import generator

__all__ = ["Memory", "Policy"]

#: The policies by name; the last five are coresets and choose when an experience is over.
Policy = Literal[
    "balanced", "reservoir", "queue", "ring", "herding", "kmeans", "mean", "gradients", "coverage"
]


@dataclass(frozen=True)
class _Place:
    """Stands for a row of the batch on offer."""

    row: int


class Memory:
    """A bounded set of examples of earlier experiences.

    Args:
        size: examples at most.
        policy: ``"reservoir"``: every example seen so far is kept with equal chance (Vitter 1985);
            ``"queue"``: the newest stay. By all others every group has an equal share, and earlier shares
            shrink as new groups come: ``"balanced"``: of examples drawn with equal chance; ``"ring"``: of the
            newest; or of those that a model's features or gradients speak for, see
            `clplat.mechanisms.memory.coresets`, by name or as a `Coreset` of one's own.
        seed: of its own generator.
        per: what a group is: an experience, or a class, where examples are ``(x, y, ...)`` with an integer y.

    Example:
        >>> memory = Memory(size=2, policy="balanced", seed=0)
        >>> memory.bytes()
        0
    """

    def __init__(
        self,
        size: int,
        policy: Policy | Coreset,
        seed: int,
        per: Literal["experience", "class"] = "experience",
    ) -> None:
        if size < 1:
            raise ValueError(f"a memory holds at least one example, not {size}")
        if isinstance(policy, str) and policy not in get_args(Policy):
            raise ValueError(str(unknown_name("policy", policy, get_args(Policy))))
        self.size, self.policy, self.per = size, policy, per
        self._coreset = policy if isinstance(policy, Coreset) else CORESETS.get(policy)
        self._generator = generator(seed, "memory")
        self._seen = self._experiences = 0
        self._offered: dict[str, int] = {}
        #: The stored examples of each group, by its name.
        self.groups: dict[str, list[Any]] = {}

    def __len__(self) -> int:
        return sum(len(rows) for rows in self.groups.values())

    def bytes(self) -> int:
        """Bytes of all stored examples."""
        return sum(size_in_bytes(row) for rows in self.groups.values() for row in rows)

    def _integer(self, high: int) -> int:
        return int(torch.randint(high, (1,), generator=self._generator))

    def add(self, learner: Describes, data: Any) -> None:
        """Choose among the examples of an experience and store the chosen ones.

        Args:
            learner: joins examples to a batch, and makes of them what a coreset looks at.
            data: what was trained on, ``learner.data()``.
        """
        groups = by_group(data, self.per, str(max(len(self.groups), self._experiences)))
        if self.policy in ("queue", "reservoir"):
            for group, rows in groups.items():
                (self._add_newest if self.policy == "queue" else self._add_drawn)(learner, data, group, rows)
        else:
            self._add_shares(learner, data, groups)
        self._experiences += 1

    def _add_shares(self, learner: Describes, data: Any, fresh: dict[str, Sequence[int]]) -> None:
        """Share the places equally among all groups; within one, old and new examples by their numbers."""
        names = list(dict.fromkeys([*self.groups, *fresh]))
        available = [len(self.groups.get(name, ())) + len(fresh.get(name, ())) for name in names]
        for name, share in zip(names, shares(self.size, available), strict=True):
            old, new, seen = self.groups.get(name, []), fresh.get(name, ()), self._offered.get(name, 0)
            kept = share if not new else max(share - len(new), round(share * seen / (seen + len(new))))
            rows = [old[i] for i in self._kept(len(old), kept)] if old else []
            chosen = self._chosen(learner, data, new, share - len(rows)) if new else []
            stored = split_batch(learner.collate([data[i] for i in chosen])) if chosen else []
            self.groups[name] = [*rows, *stored]
            self._offered[name] = seen + len(new)
            self._seen += len(new)

    def _kept(self, count: int, share: int) -> Sequence[int]:
        """Which rows of a group stay when its share has shrunk."""
        if self.policy == "ring":
            return range(max(0, count - share), count)
        return range(min(count, share)) if self._coreset else self._drawn(count, share)

    def _chosen(self, learner: Describes, data: Any, rows: Sequence[int], room: int) -> list[int]:
        """Which of these rows of the data are stored in so many places."""
        if self._coreset is None or not room:
            return [rows[i] for i in self._kept(len(rows), room)]
        seen = described(learner, Subset(data, rows), self._coreset.wants)
        return [rows[i] for i in self._coreset.order(seen, room, self._generator)]

    def _drawn(self, count: int, share: int) -> list[int]:
        return torch.randperm(count, generator=self._generator)[:share].sort().values.tolist()

    def _add_newest(self, learner: Describes, data: Any, group: str, rows: Sequence[int]) -> None:
        newest = rows[max(0, len(rows) - self.size) :]
        self.offer(learner.collate([data[i] for i in newest]), group)

    def _add_drawn(self, learner: Describes, data: Any, group: str, rows: Sequence[int]) -> None:
        """Rows are not decoded until they are chosen."""
        before = ((key, i, False) for key, held in self.groups.items() for i in range(len(held)))
        fresh_rows = ((group, i, True) for i in rows)
        slots = reservoir(before, fresh_rows, self.size, self._seen, self._integer)
        self._seen += len(rows)
        fresh = [i for _, i, new in slots if new]
        for key, held in self.groups.items():
            self.groups[key] = [held[i] for k, i, new in slots if k == key and not new]
        stored = split_batch(learner.collate([data[i] for i in fresh])) if fresh else []
        self.groups[group] = [*self.groups.get(group, []), *stored]

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
        if self._coreset is not None:
            raise ValueError(
                f"the policy '{self.policy}' chooses among the examples of a whole experience; as they come, "
                "reservoir, balanced, queue and ring do"
            )
        held = self.groups.setdefault(group, [])
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
        rows, held = [*self.groups.values()], self.groups[group]
        largest = max(rows, key=len)
        if self.policy == "queue":
            next(filter(None, rows)).pop(0)
            return True
        if self.policy == "ring" or (self.policy == "balanced" and len(held) < len(largest)):
            longer = largest if len(held) < len(largest) else held
            longer.pop(0 if self.policy == "ring" else self._integer(len(longer)))
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
        self,
        count: int,
        mixed: bool = False,
        join: Callable[[list[Any]], Any] = join_examples,
        without: str | None = None,
    ) -> Any | None:
        """A batch of up to ``count`` stored examples; None where there are none.

        Args:
            count: examples at most; of one experience at least two.
            mixed: of all experiences together, as a loss over classes wants them; else of one experience,
                because the negatives of a contrastive batch are then as hard as in training: across domains
                they would be told apart by their style alone. An experience of which one example is left has
                no negatives to offer and is passed over; a full memory of one of each has them together.
            join: makes a batch of examples.
            without: a group that is left out.
        """
        mixed = mixed or self._one_of_each()
        named = self.groups.items()
        groups = [rows for name, rows in named if (len(rows) > 1 or mixed) and name != without]
        if not any(groups):
            return None
        rows = [row for group in groups for row in group] if mixed else groups[self._integer(len(groups))]
        order = torch.randperm(len(rows), generator=self._generator)[: count if mixed else max(2, count)]
        return join([rows[i] for i in order.tolist()])

    def _one_of_each(self) -> bool:
        """Whether the memory is full, of experiences with one example each."""
        return len(self) == self.size > 1 and all(len(rows) < 2 for rows in self.groups.values())

    def sample_each(self, count: int) -> list[Any]:
        """One batch of every stored experience, about ``count`` examples together, two each at least.

        As in `sample`, an experience of which one example is left is passed over.
        """
        groups = [rows for rows in self.groups.values() if len(rows) > 1]
        if self._one_of_each():
            groups = [[row for rows in self.groups.values() for row in rows]]
        batches = []
        for rows in groups:
            order = torch.randperm(len(rows), generator=self._generator)[: max(2, count // len(groups))]
            batches.append(join_examples([rows[i] for i in order.tolist()]))
        return batches

    def state_dict(self) -> dict[str, Any]:
        counts = {"seen": self._seen, "offered": self._offered, "experiences": self._experiences}
        return counts | {"groups": self.groups, "generator": self._generator.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        # At rest on the CPU, as rows that are added later: what resumes on a device moves numbers there.
        self._seen, self.groups = state["seen"], at_rest(state["groups"])
        self._offered, self._experiences = state.get("offered", {}), state.get("experiences", 0)
        self._generator.set_state(state["generator"])
