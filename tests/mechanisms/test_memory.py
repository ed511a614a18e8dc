"""Memories: who is kept with which chance, equal shares, bytes, and the same draws after a restart."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch._subclasses import FakeTensorMode

from clplat.data.batch import Batch
from clplat.data.inputs import Images
from clplat.mechanisms.examples import floats_on, size_in_bytes
from clplat.mechanisms.memory import Memory
from clplat.testing import tiny_collate, tiny_domains
from clplat.trees import load_tree, save_tree

NUMBERS: Any = SimpleNamespace(collate=list)


def filled(memory: Memory, sizes: list[int]) -> Memory:
    """A memory that has seen experiences of numbers: experience e holds 1000 e, 1000 e + 1, ..."""
    for e, size in enumerate(sizes):
        memory.add(NUMBERS, [1000 * e + i for i in range(size)])
    return memory


def held(memory: Memory) -> list[list[int]]:
    return list(memory.state_dict()["groups"].values())


def test_a_reservoir_keeps_every_example_with_equal_chance() -> None:
    sizes, size, trials = [30, 20, 10], 10, 600
    counts: Counter[int] = Counter()
    for seed in range(trials):
        counts.update(row for rows in held(filled(Memory(size, "reservoir", seed), sizes)) for row in rows)
    chance = size / sum(sizes)
    expected = trials * chance
    assert len(counts) == sum(sizes)
    # Sum of squared deviations in units of their variance: about chi-square with 59 degrees of freedom.
    spread = sum((n - expected) ** 2 for n in counts.values()) / (expected * (1 - chance))
    assert 25 < spread < 110, spread


def test_a_balanced_memory_chooses_within_an_experience_with_equal_chance() -> None:
    counts: Counter[int] = Counter()
    for seed in range(600):
        counts.update(row for rows in held(filled(Memory(8, "balanced", seed), [20, 20])) for row in rows)
    spread = sum((counts[i] - 120) ** 2 for i in (*range(20), *range(1000, 1020))) / (120 * 0.8)
    assert 12 < spread < 80, spread  # 38 degrees of freedom


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 30),
    st.sampled_from(["reservoir", "balanced"]),
    st.lists(st.integers(1, 40), min_size=1, max_size=6),
    st.integers(0, 5),
)
def test_a_memory_holds_distinct_examples_up_to_its_size(
    size: int, policy: Any, sizes: list[int], seed: int
) -> None:
    memory = filled(Memory(size, policy, seed), sizes)
    groups = held(memory)
    rows = [row for group in groups for row in group]
    assert len(memory) == len(rows) == len(set(rows)) <= size
    assert all(row // 1000 == e and row % 1000 < sizes[e] for e, group in enumerate(groups) for row in group)
    if policy == "reservoir":
        assert len(rows) == min(size, sum(sizes))
    assert memory.bytes() == 8 * len(rows)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 6), st.integers(6, 60))
def test_experiences_of_one_size_have_equal_shares(count: int, size: int) -> None:
    shares = [len(group) for group in held(filled(Memory(size, "balanced", 0), [60] * count))]
    assert sum(shares) == size
    assert min(shares) == size // count and max(shares) - min(shares) < count


def test_a_memory_smaller_than_the_stream_keeps_several_experiences() -> None:
    shares = [len(group) for group in held(filled(Memory(3, "balanced", 0), [10] * 4))]
    assert sum(share > 0 for share in shares) == 3


def test_free_places_are_shared() -> None:
    shares = [len(group) for group in held(filled(Memory(20, "balanced", 0), [2, 50, 50]))]
    assert shares == [2, 9, 9]


@pytest.mark.parametrize("policy", ["reservoir", "balanced"])
def test_a_restored_memory_goes_on_with_the_same_draws(policy: Any, tmp_path: Path) -> None:
    collate, (first, second) = tiny_collate(), tiny_domains()
    learner: Any = SimpleNamespace(collate=collate)
    memory, fresh = Memory(10, policy, 3), Memory(10, policy, 99)
    memory.add(learner, first.train)
    memory.sample(4)
    save_tree(tmp_path / "memory.safetensors", memory.state_dict())
    fresh.load_state_dict(load_tree(tmp_path / "memory.safetensors"))
    assert fresh.bytes() == memory.bytes() > 0
    for one in (memory, fresh):
        one.add(learner, second.train)
    for _ in range(6):
        drawn, again = memory.sample(4), fresh.sample(4)
        assert drawn.ids == again.ids and torch.equal(drawn.candidates, again.candidates)


def test_bytes_are_those_of_the_stored_pictures_and_texts() -> None:
    learner: Any = SimpleNamespace(collate=tiny_collate())
    memory = Memory(5, "reservoir", 0)
    memory.add(learner, tiny_domains()[0].train)
    rows = [row for group in held(memory) for row in group]
    pictures = sum(pixels.numel() for row in rows for pixels in row["item"]["pictures"]["pixels"])  # type: ignore[call-overload]
    assert pictures == 5 * 2 * 3 * 16 * 16
    assert memory.bytes() == sum(map(size_in_bytes, rows)) > pictures


def test_a_sample_is_of_one_experience_and_every_experience_gets_its_turn() -> None:
    memory = filled(Memory(12, "balanced", 0), [30, 30, 30])
    seen = Counter()
    for _ in range(90):
        batch = memory.sample(3)
        assert len(set(batch)) == 3 and len({row // 1000 for row in batch}) == 1
        seen[batch[0] // 1000] += 1
    assert set(seen) == {0, 1, 2} and min(seen.values()) > 15


def test_a_mixed_sample_is_of_all_experiences_together() -> None:
    memory = filled(Memory(12, "balanced", 0), [1, 30, 30])
    assert sorted(memory.sample(99, mixed=True)) == sorted(row for rows in held(memory) for row in rows)
    drawn = Counter(row // 1000 for _ in range(50) for row in memory.sample(4, mixed=True))
    assert drawn[0] > 5 and drawn[1] > 50 < drawn[2]
    assert Memory(3, "balanced", 0).sample(2, mixed=True) is None


def test_an_empty_memory_gives_nothing() -> None:
    assert Memory(3, "balanced", 0).sample(2) is None
    assert len(filled(Memory(3, "balanced", 0), [2]).sample(10) or []) == 2


def test_examples_are_content_not_pointers() -> None:
    data = [torch.zeros(2), torch.zeros(2)]
    learner: Any = SimpleNamespace(collate=torch.stack)
    memory = Memory(2, "balanced", 0)
    memory.add(learner, data)
    for tensor in data:
        tensor.fill_(7)
    assert memory.sample(2).sum() == 0


def test_an_experience_of_one_example_has_no_negatives_to_offer() -> None:
    memory = filled(Memory(12, "balanced", 0), [1, 30, 1])
    assert {row // 1000 for _ in range(20) for row in memory.sample(3)} == {1}
    assert len(memory.sample(1)) == 2, "nor has a batch of one"
    assert filled(Memory(12, "balanced", 0), [1, 1]).sample(3) is None


def test_a_memory_that_resumes_on_a_device_takes_new_examples() -> None:
    with FakeTensorMode():  # tensors of any device, without one
        held = {"0": [torch.zeros(2), torch.zeros(2)]}
        state = {**Memory(8, "balanced", 0).state_dict(), "groups": held}
        memory = Memory(8, "balanced", 0)
        memory.load_state_dict({**state, "groups": floats_on(torch.device("cuda"), held)})
        memory.offer(torch.zeros(1, 2), "0")
        assert torch.stack(memory.state_dict()["groups"]["0"]).device.type == "cpu"


@pytest.mark.parametrize("policy", ["reservoir", "balanced"])
def test_offered_rows_are_kept_with_equal_chance(policy: Any) -> None:
    counts: Counter[int] = Counter()
    for seed in range(600):
        memory = Memory(8, policy, seed)
        for e in range(2):
            for start in range(0, 20, 5):
                memory.offer([1000 * e + start + i for i in range(5)], f"domain {e}")
        counts.update(row for rows in held(memory) for row in rows)
        assert len(memory) == 8 and (policy == "reservoir" or [*map(len, held(memory))] == [4, 4])
    spread = sum((counts[i] - 120) ** 2 for i in (*range(20), *range(1000, 1020))) / (120 * 0.8)
    assert 12 < spread < 80, spread  # about chi-square with 39 degrees of freedom


def test_a_queue_keeps_the_newest() -> None:
    memory = Memory(4, "queue", 0)
    memory.offer([*range(6)], "a")
    memory.offer([6], "b")
    assert held(memory) == [[3, 4, 5], [6]]
    assert held(filled(Memory(4, "queue", 0), [3, 9])) == [[], [1005, 1006, 1007, 1008]]


def test_what_a_full_memory_refuses_is_not_decoded() -> None:
    decoded: list[str] = []
    batch = tiny_collate()(tiny_domains()[0].train[:8])
    whole = batch.pictures

    def load(rows: Any, again: bool) -> torch.Tensor:
        decoded.extend(whole.names[i] for i in rows)
        return whole.at(rows)

    memory = Memory(2, "reservoir", 0)
    memory.offer((batch, torch.arange(8)), "a")
    watched = replace(batch.columns["pictures"], value=Images(whole.names, load, "test"))
    memory.offer((Batch({**batch.columns, "pictures": watched}, batch.owners), torch.arange(8, 16)), "b")
    rows = [row for group in held(memory) for row in group]
    assert len(rows) == 2 and len(decoded) == 2 * sum(int(row[1]) >= 8 for row in rows)
    examples, numbers = memory.sample(2) or (batch, torch.arange(8))
    assert examples.ids == [batch.ids[int(i) % 8] for i in numbers]


def test_places_that_another_group_leaves_free_are_used() -> None:
    memory = Memory(10, "balanced", 0)
    for group, count in (("a", 2), ("b", 40), ("c", 40)):
        memory.offer([*range(count)], group)
    assert [len(rows) for rows in held(memory)] == [2, 4, 4]


def test_a_full_memory_of_one_example_each_has_them_together() -> None:
    memory = filled(Memory(4, "balanced", 0), [3] * 6)
    assert sorted(map(len, held(memory))) == [0, 0, 1, 1, 1, 1]
    assert len(memory.sample(3)) == 3 and [len(batch) for batch in memory.sample_each(4)] == [4]


def test_a_memory_without_places_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one example, not 0"):
        Memory(0, "balanced", 0)


def test_a_batch_of_every_experience() -> None:
    memory = filled(Memory(12, "balanced", 0), [30, 30, 30])
    for count in (3, 6, 12):
        batches = memory.sample_each(count)
        assert [{row // 1000 for row in batch} for batch in batches] == [{0}, {1}, {2}]
        assert {len(batch) for batch in batches} == {max(2, count // 3)}
    assert Memory(3, "balanced", 0).sample_each(4) == []
