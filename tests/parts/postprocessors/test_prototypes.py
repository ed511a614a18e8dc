"""Proto-CLIP as a map of queries: scores by hand, labels that are added, and only training data."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn.functional import normalize

from clplat.mechanisms.proto_clip import class_means, proto_shares
from clplat.parts.postprocessors._base import Banks, Scored
from clplat.parts.postprocessors.prototypes import Prototypes
from clplat.randomness import generator
from clplat.testing import PostProcessorContract

DRAW = generator(0, "prototypes")
OWN = torch.arange(8) % 3
ANSWERS = normalize(torch.randn(3, 5, generator=DRAW), dim=1)
KEYS = normalize(ANSWERS[OWN] + torch.randn(8, 5, generator=DRAW), dim=1)
BANKS = Banks(KEYS, ANSWERS, answers=ANSWERS[OWN], labels=tuple(f"class {i}" for i in OWN.tolist()))
ASKED = normalize(torch.randn(4, 5, generator=DRAW), dim=1)


class TestTrained(PostProcessorContract):
    def make(self) -> Prototypes:
        return Prototypes(steps=3, gives="classes")


def scores(part: Prototypes) -> torch.Tensor:
    part.fit(BANKS)
    q, g = part.map(Scored(ASKED), Scored(ANSWERS))
    return q.double() @ g.double().T


def test_classes_score_by_their_share() -> None:
    shares = proto_shares(ASKED.double(), class_means(KEYS.double(), OWN, 3), ANSWERS.double(), 0.4, 3.0)
    found = scores(Prototypes(weight=0.7, share=0.4, sharpness=3.0, gives="classes"))
    assert torch.allclose(found, (ASKED @ ANSWERS.T).double() + 0.7 * shares, atol=1e-5)


def test_answers_move_the_query_towards_those_of_likely_labels() -> None:
    shares = proto_shares(ASKED.double(), class_means(KEYS.double(), OWN, 3), ANSWERS.double(), 0.4, 3.0)
    centred = ANSWERS.double() - ANSWERS.double().mean(0)
    found = scores(Prototypes(weight=0.7, share=0.4, sharpness=3.0))
    assert torch.allclose(found, (ASKED.double() + 0.7 * shares @ centred) @ ANSWERS.double().T, atol=1e-5)


def test_labels_of_a_new_domain_are_added_and_the_first_ones_stay() -> None:
    few = Banks(KEYS[OWN < 2], ANSWERS, answers=ANSWERS[OWN[OWN < 2]], labels=("a", "b") * 3)
    part = Prototypes()
    part.fit(few)
    assert part._held is not None
    before = part._held[0]
    part.fit(BANKS)
    assert part._held is not None and len(before) == 2 and len(part._held[0]) == 3
    assert torch.allclose(part._held[0][:2], before)


def test_training_moves_prototypes_and_repeats() -> None:
    plain, trained, again = (scores(Prototypes(steps=steps)) for steps in (0, 5, 5))
    assert torch.equal(trained, again) and not torch.allclose(trained, plain, atol=1e-4)


def test_a_version_without_answers_ranks_as_before() -> None:
    part = Prototypes()
    part.fit(Banks(KEYS, ANSWERS[:0]))
    q, g = part.map(Scored(ASKED), Scored(ANSWERS))
    assert torch.equal(q, ASKED) and torch.equal(g, ANSWERS)


@pytest.mark.parametrize("wrong", [{"gives": "x"}, {"share": 2.0}, {"sharpness": 0.0}, {"steps": -1}])
def test_what_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"gives must be|needs a weight|needs steps"):
        Prototypes(**wrong)
