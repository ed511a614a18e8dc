"""What each policy chooses, beside slow references, and that a memory of any policy keeps its promises."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clplat.mechanisms.memory import Memory, Policy
from clplat.mechanisms.memory.coresets import (
    CORESETS,
    Coreset,
    coverage,
    gradients,
    herding,
    k_means,
    kmeans,
    mean_of_features,
)
from clplat.mechanisms.memory.descriptions import described, features
from clplat.randomness import generator
from clplat.testing import TinyTowers, tiny_domains, tiny_learner
from clplat.training.learner import Learner
from clplat.trees import load_tree, save_tree

DATA = [domain.train for domain in tiny_domains()]
LEARNER = tiny_learner(TinyTowers())
SEEN = F.normalize(torch.randn(30, 2, 5, generator=generator(1, "features")), dim=-1)


def draw() -> torch.Generator:
    return generator(0, "coreset")


# -- formulas ---------------------------------------------------------------------------------------------


def test_herding_is_the_loop_of_the_paper() -> None:
    points = SEEN.double().flatten(1) / 2**0.5
    mean, chosen = points.mean(0), []
    for k in range(1, 9):
        found = {}
        for i in set(range(30)) - {*chosen}:
            total = points[i] + sum((points[j] for j in chosen), torch.zeros(10, dtype=torch.double))
            found[i] = float((mean - total / k).norm())
        chosen.append(min(found, key=found.__getitem__))
    assert herding(SEEN, 8) == chosen
    # The mean of a herd is nearer to the mean of all than that of almost any set as large.
    apart = float((points[chosen[:2]].mean(0) - mean).norm())
    others = [float((points[[*pair]].mean(0) - mean).norm()) for pair in combinations(range(30), 2)]
    assert sum(other < apart for other in others) < len(others) / 20


def test_the_nearest_to_the_mean_come_first() -> None:
    points = SEEN.double().flatten(1) / 2**0.5
    apart = [float((point - points.mean(0)).norm()) for point in points]
    assert mean_of_features(SEEN, 5) == sorted(range(30), key=apart.__getitem__)[:5]


def test_k_means_finds_clusters_and_takes_one_of_each() -> None:
    corners = torch.eye(4).repeat_interleave(torch.tensor([9, 7, 5, 3]), 0)
    points = corners + 0.05 * torch.randn(24, 4, generator=draw())
    nearest, centres = k_means(points, 4, draw())
    truth = corners.argmax(1)
    assert torch.equal(nearest[:, None] == nearest, truth[:, None] == truth)
    for k in range(4):
        assert torch.allclose(centres[k], points[nearest == k].mean(0), atol=1e-6)
    assert truth[kmeans(points[:, None], 4, draw())].tolist() == [0, 1, 2, 3], "large clusters first"


def test_gradients_are_of_many_directions() -> None:
    seen = torch.randn(12, 3, generator=draw())
    chosen = gradients(seen, 5, draw())
    cosine = F.normalize(seen.double(), dim=1) @ F.normalize(seen.double(), dim=1).T
    for k in range(1, 5):
        most = {i: float(cosine[i, chosen[:k]].max()) for i in set(range(12)) - {*chosen[:k]}}
        assert chosen[k] == min(most, key=most.__getitem__)


def test_coverage_is_the_greedy_of_its_score() -> None:
    seen = SEEN.double()
    own, _ = k_means(F.normalize(seen.flatten(1), dim=1), 5, draw())
    left, right = seen[:, 0], seen[:, 1]
    members = [[i for i in range(30) if own[i] == k] for k in range(5)]
    centres = [[F.normalize(side[m].mean(0), dim=0) for m in members] for side in (left, right)]

    def s(i: int, j: int) -> float:
        return float(left[i] @ right[j])

    def score(i: int, chosen: list[int]) -> float:
        k = int(own[i])
        mates = members[k]
        value = sum(s(i, j) + s(j, i) for j in mates) / len(mates) + 2 * s(i, i)
        value += float(right[i] @ centres[1][k]) / 2
        others = [float(left[i] @ centres[1][o] + right[i] @ centres[0][o]) for o in range(5) if o != k]
        value -= sum(others) / 4
        return value - sum((s(i, j) + s(j, i)) / len(mates) for j in chosen if int(own[j]) == k)

    chosen: list[int] = []
    for _ in range(8):
        found = {i: score(i, chosen) for i in set(range(30)) - {*chosen}}
        chosen.append(max(found, key=found.__getitem__))
    assert coverage(seen, 8, draw()) == chosen


# -- what they look at ------------------------------------------------------------------------------------


def test_features_are_unit_rows_of_both_sides() -> None:
    found = features(LEARNER, DATA[0], batch_size=7)
    outputs = LEARNER.predict(LEARNER.collate([*DATA[0]]))
    assert torch.allclose(found[:, 0], outputs.query, atol=1e-6)
    assert torch.allclose(found[:, 1], outputs.candidates, atol=1e-6)


def classifier() -> tuple[Learner, list[tuple[Tensor, int]]]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3)).double()
        data = [(torch.randn(4).double(), i % 3) for i in range(12)]
    learner = Learner(model, predict_fn=lambda batch: model(batch[0]))
    learner.loss_fn = lambda batch, outputs: F.cross_entropy(outputs, batch[1])
    return learner, data


def test_of_a_classifier_they_are_what_its_last_layer_reads() -> None:
    learner, data = classifier()
    x = torch.stack([x for x, _ in data])
    read = F.normalize(learner.model[:2](x), dim=1).float()  # type: ignore[index]
    assert torch.allclose(features(learner, data)[:, 0], read, atol=1e-6)
    found = described(learner, data, "gradients")
    slopes = learner.model(x).softmax(1) - F.one_hot(torch.tensor([y for _, y in data]), 3)
    assert torch.allclose(found, slopes.float() / len(data), atol=1e-6)


def test_of_frozen_targets_the_queries_have_gradients() -> None:
    model = TinyTowers()
    model.picture.requires_grad_(False)
    found = described(tiny_learner(model), DATA[0], "gradients")
    assert found[:, :8].any() and not found[:, 8:].any()


# -- memories of every policy -----------------------------------------------------------------------------


@pytest.mark.parametrize("policy", get_args(Policy))
def test_a_memory_of_any_policy_fills_and_goes_on_after_a_restart(policy: Any, tmp_path: Path) -> None:
    memory, fresh = Memory(10, policy, 3), Memory(10, policy, 99)
    memory.add(LEARNER, DATA[0])
    assert len(memory) == 10 and memory.bytes() > 0
    save_tree(tmp_path / "memory.safetensors", memory.state_dict())
    fresh.load_state_dict(load_tree(tmp_path / "memory.safetensors"))
    for one in (memory, fresh):
        one.add(LEARNER, DATA[1])
        rows = [row["example"]["ids"][0] for group in one.state_dict()["groups"].values() for row in group]
        assert len(rows) == len(set(rows)) == 10
    assert memory.sample(10).ids == fresh.sample(10).ids
    if policy not in ("reservoir", "queue"):
        assert [*map(len, memory.state_dict()["groups"].values())] == [5, 5]


def test_a_share_that_shrinks_keeps_what_was_chosen_first() -> None:
    for policy, coreset in CORESETS.items():
        memory = Memory(8, policy, 0)  # type: ignore[arg-type]
        memory.add(LEARNER, DATA[0])
        seen = described(LEARNER, DATA[0], coreset.wants)
        chosen = coreset.order(seen, 8, generator(0, "memory"))
        memory.add(LEARNER, DATA[1])
        kept = [row["example"]["ids"][0] for row in memory.state_dict()["groups"]["0"]]
        assert kept == [DATA[0][i].id for i in chosen[:4]], policy


def test_a_policy_of_ones_own_and_one_that_is_unknown() -> None:
    backwards = Coreset("features", lambda seen, count, draw: [*range(len(seen))][::-1][:count])
    memory = Memory(3, backwards, 0)
    memory.add(LEARNER, DATA[0])
    assert sorted(memory.sample(3).ids) == sorted(example.id for example in DATA[0][-3:])
    with pytest.raises(ValueError, match="unknown policy 'herdin'; did you mean 'herding'"):
        Memory(3, "herdin", 0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"whole experience.*reservoir, balanced, queue and ring do"):
        Memory(3, "herding", 0).offer([1, 2], "a")


def numbers(memory: Memory, *experiences: list[tuple[int, int]]) -> dict[str, list[int]]:
    learner: Any = SimpleNamespace(collate=lambda rows: [x for x, _ in rows])
    for data in experiences:
        memory.add(learner, data)
    return memory.state_dict()["groups"]


def test_classes_have_equal_shares_however_often_they_come() -> None:
    first = [(i, i % 2) for i in range(40)]
    second = [(100 + i, 1 + i % 2) for i in range(40)]
    held = numbers(Memory(12, "balanced", 0, per="class"), first, second)
    assert {name: len(rows) for name, rows in held.items()} == {"class 0": 4, "class 1": 4, "class 2": 4}
    assert sum(row >= 100 for row in held["class 1"]) == 2, "half of what was seen of it"
    assert [*map(len, numbers(Memory(4, "balanced", 0, per="class"), first).values())] == [2, 2]


def test_a_ring_keeps_the_newest_of_every_group() -> None:
    ring = Memory(6, "ring", 0)
    for group in range(3):
        ring.offer([10 * group + i for i in range(8)], str(group))
    assert [*ring.state_dict()["groups"].values()] == [[6, 7], [16, 17], [26, 27]]
    held = numbers(Memory(4, "ring", 0), [(i, 0) for i in range(9)], [(20 + i, 0) for i in range(9)])
    assert [*held.values()] == [[7, 8], [27, 28]]
