"""NegCLIP's and CE-CLIP's losses by hand in float64, the traps of their code, and margins that are kept."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from clplat.data.batch import Batch
from clplat.data.collate import Collate
from clplat.data.records import Candidate, Example, Pair
from clplat.models.outputs import Outputs
from clplat.parts.adapters.peft import LoRA
from clplat.parts.composers.sum import Sum
from clplat.parts.losses._base import Loss
from clplat.parts.losses.info_nce import InfoNCE
from clplat.parts.losses.typed_negatives import TypedNegatives
from clplat.parts.transforms._base import Several
from clplat.parts.transforms.captions import Captions
from clplat.parts.transforms.wrong_words import WrongWords
from clplat.progress import Progress
from clplat.randomness import generator
from clplat.testing import LossContract, tiny_collate, tiny_domains, tiny_retriever
from clplat.testing.checks import difference
from clplat.testing.runs import everything, finish, resumed, tiny_trainer
from strategies import Naive, Replay

SCALE = 7.0
KINDS = ("relation", "attribute", "object")


class TestTypedNegatives(LossContract):
    def make(self) -> Loss:
        return TypedNegatives(contrast=0.3)


def batch_of(*negatives: Sequence[tuple[str, str]], labels: Sequence[str] | None = None) -> Batch:
    """Pairs with negatives (text, kind) each; pictures are of no matter here."""
    examples: list[Example] = []
    for i, own in enumerate(negatives):
        made = [Candidate(text, text, kind) for text, kind in own]
        label = labels[i] if labels else f"caption {i}"
        examples.append(Pair(str(i), f"picture {i}", label, "d", negatives=made, weight=1.0 + i))
    return tiny_collate()(examples)


def outputs_of(batch: Batch, seed: int = 0) -> Outputs:
    draw = generator(seed, "typed")
    query = normalize(torch.randn(len(batch), 5, generator=draw), dim=-1)
    candidates = normalize(torch.randn(len(batch.owners), 5, generator=draw), dim=-1)
    return Outputs(query.requires_grad_(), candidates.requires_grad_(), torch.tensor(SCALE))


TYPED = batch_of(
    [("r0", "relation"), ("a0", "attribute"), ("o0", "object")],
    [("a1", "attribute")],
    [("r2", "relation"), ("x2", "near_miss")],
)


def scores(outputs: Outputs) -> tuple[list[list[float]], list[list[float]]]:
    """Scaled scores of queries and of targets with all candidates, by loops."""
    rows = [r.double().tolist() for r in (outputs.query.detach(), outputs.candidates.detach())]

    def table(left: list[list[float]]) -> list[list[float]]:
        return [[SCALE * sum(a * b for a, b in zip(x, y, strict=True)) for y in rows[1]] for x in left]

    return table(rows[0]), table(rows[1])


def by_hand(batch: Batch, outputs: Outputs, margins: dict[str, float]) -> dict[str, float]:
    """NegCLIP's loss, IMC and CMR of a batch in which nothing answers twice."""
    asked, beside = scores(outputs)
    count, every = len(batch), range(len(batch.owners))
    weights = [1.0 + i for i in range(count)]
    towards = [math.log(sum(math.exp(asked[i][j]) for j in every)) - asked[i][i] for i in range(count)]
    back = [math.log(sum(math.exp(asked[k][i]) for k in range(count))) - asked[i][i] for i in range(count)]
    apart = [
        math.log(math.exp(asked[i][i]) + sum(math.exp(beside[i][j]) for j in every[count:])) - asked[i][i]
        for i in range(count)
    ]
    missed = [
        max(
            0.0, margins[batch.kinds[j]] + asked[batch.owners[j]][j] - asked[batch.owners[j]][batch.owners[j]]
        )
        for j in every[count:]
        if batch.kinds[j] in margins
    ]

    def mean(values: list[float]) -> float:
        return sum(w * v for w, v in zip(weights, values, strict=True)) / sum(weights)

    return {
        "base": (mean(towards) + mean(back)) / 2,
        "contrast": 0.3 * mean(apart),
        "rank": 0.4 * sum(missed) / len(missed),
    }


def loss_of(**options: Any) -> TypedNegatives:
    return TypedNegatives(contrast=0.3, rank=0.4, types=KINDS, **options)


def told(terms: Any) -> dict[str, float]:
    return {name: float(value.detach()) for name, value in terms.items()}


def test_two_steps_by_hand() -> None:
    """The margins of the second step are the gaps of the first."""
    loss, first, second = loss_of(), outputs_of(TYPED, 0), outputs_of(TYPED, 1)
    assert told(loss(first, TYPED, Progress())) == pytest.approx(
        by_hand(TYPED, first, dict.fromkeys(KINDS, 0.0)), rel=1e-5
    )
    asked, _ = scores(first)
    right = sum(asked[i][i] for i in range(3)) / 3
    gaps = {}
    for kind in KINDS:
        own = [asked[TYPED.owners[j]][j] for j, name in enumerate(TYPED.kinds) if name == kind]
        gaps[kind] = min(10.0, max(0.0, right - sum(own) / len(own)))
    assert loss.margins.tolist() == pytest.approx([gaps[kind] for kind in KINDS], rel=1e-5)
    assert max(gaps.values()) > 0
    assert told(loss(second, TYPED, Progress())) == pytest.approx(by_hand(TYPED, second, gaps), rel=1e-5)


def test_negclip_is_info_nce_in_both_directions_with_negatives_on_one_side() -> None:
    outputs = outputs_of(TYPED)
    found = InfoNCE(symmetric=True)(outputs, TYPED, Progress())
    wanted = by_hand(TYPED, outputs, dict.fromkeys(KINDS, 0.0))["base"]
    assert float(found.detach()) == pytest.approx(wanted, rel=1e-5)


def test_a_type_that_is_missing_keeps_its_margin() -> None:
    loss = loss_of()
    loss(outputs_of(TYPED), TYPED, Progress())
    before = loss.margins.clone()
    only = batch_of([("a", "attribute")], [("b", "attribute")])
    loss(outputs_of(only, 3), only, Progress())
    assert torch.equal(loss.margins[[0, 2]], before[[0, 2]]) and loss.margins[1] != before[1]


def test_margins_are_bounded_and_a_look_without_gradients_leaves_them() -> None:
    loss = loss_of(bound=0.5)
    with torch.no_grad():
        loss(outputs_of(TYPED), TYPED, Progress())
    assert not loss.margins.any()
    loss(outputs_of(TYPED), TYPED, Progress())
    assert loss.margins.any() and float(loss.margins.max()) <= 0.5


def test_a_negative_that_is_right_for_another_picture_is_not_pushed_away() -> None:
    """The code contrasts a caption with every negative of the batch, also with those of its own words."""
    labels = ["a dog on a horse", "a horse on a dog"]
    swapped = [(labels[1], "relation")], [(labels[0], "relation")]
    batch = batch_of(*swapped, labels=labels)
    outputs = outputs_of(batch)
    loss = TypedNegatives(contrast=1.0, rank=0.0, types=["relation"])
    value = float(loss(outputs, batch, Progress())["contrast"].detach())
    asked, beside = scores(outputs)
    own = [math.log(1 + math.exp(beside[i][2 + i] - asked[i][i])) for i in range(2)]
    assert value == pytest.approx((own[0] + 2 * own[1]) / 3, rel=1e-5)


def test_a_score_of_exactly_nought_counts() -> None:
    """The code takes a score of 0 for a negative that is missing."""
    batch = batch_of([("r0", "relation")], [("r1", "relation")])
    query = torch.eye(2, 4)
    candidates = torch.stack([*torch.eye(2, 4), torch.eye(4)[2], torch.eye(4)[3]])
    loss = TypedNegatives(types=["relation"])
    loss(Outputs(query.requires_grad_(), candidates, torch.tensor(SCALE)), batch, Progress())
    assert loss.margins.tolist() == [SCALE]


def test_without_negatives_the_base_is_left() -> None:
    batch = batch_of([], [])
    outputs = outputs_of(batch)
    terms = told(loss_of()(outputs, batch, Progress()))
    assert terms["contrast"] == pytest.approx(0.0, abs=1e-6) and terms["rank"] == 0.0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"contrast": -1.0}, "contrast must be at least 0, not -1"),
        ({"types": []}, "types must be different names, at least one"),
        ({"types": ["a", "a"]}, "types must be different names"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        TypedNegatives(**options)


def collate() -> Collate:
    transform = Several([Captions(), WrongWords()])
    return Collate(tiny_collate().pixels, tiny_collate().tokenize, transform=transform)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("strategy", [Naive, lambda: Replay(size=12, batch_size=7)], ids=["naive", "replay"])
def test_a_run_goes_on_to_the_bit_margins_included(strategy: Callable[[], Any]) -> None:
    def trainer() -> Any:
        model = tiny_retriever(LoRA(lora_dropout=0.3), Sum())
        made = tiny_trainer(strategy(), model, loss=TypedNegatives())
        made.collate = collate()
        return made

    whole = finish(trainer())
    margins: Tensor = whole.trainer.task.margins
    assert float(margins[1]) != 0  # "a red square" has a wrong colour, and no other type
    for checkpoint in ("4", "border", "10"):
        again = resumed(whole, checkpoint, trainer())
        assert not difference(everything(whole.trainer), everything(again)), checkpoint
        assert torch.equal(again.task.margins, margins)


def test_its_pairs_have_their_negatives() -> None:
    batch = collate()(tiny_domains()[0].train[:4])
    assert batch.kinds == ["target"] * 4 + ["attribute"] * 4
