"""Zero-shot probes against loops over sorted scores."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import normalize

from clplat.evaluation.probes import classification_accuracy, image_text_recall


def slow_recall(queries, gallery, groups, k):
    hits = 0
    for i, query in enumerate(queries.double()):
        scores = (gallery.double() @ query).tolist()
        order = sorted(range(len(scores)), key=lambda g: (-scores[g], g))
        hits += any(groups[g] == groups[i] for g in order[:k])
    return 100 * hits / len(queries)


@pytest.mark.parametrize("captions", [None, "unique", "shared"])
def test_recall_of_both_directions(captions):
    torch.manual_seed(0)
    images = normalize(torch.randn(40, 6), dim=1)
    texts = normalize(images + 0.8 * torch.randn(40, 6), dim=1)
    groups = [f"caption {i % 13}" if captions == "shared" else f"caption {i}" for i in range(40)]
    found = image_text_recall(images, texts, ks=(1, 5), groups=None if captions is None else groups)
    for k in (1, 5):
        i2t, t2i = slow_recall(images, texts, groups, k), slow_recall(texts, images, groups, k)
        assert found[f"i2t R@{k}"] == pytest.approx(i2t)
        assert found[f"t2i R@{k}"] == pytest.approx(t2i)
        assert found[f"R@{k}"] == pytest.approx((i2t + t2i) / 2)


def test_equal_captions_answer_each_other_only_as_a_group():
    images, texts = torch.eye(2), torch.tensor([[0.6, 0.8], [0.6, 0.8]])
    assert image_text_recall(images, texts, ks=(1,))["i2t R@1"] == 50.0
    assert image_text_recall(images, texts, ks=(1,), groups=["same", "same"])["R@1"] == 100.0


def test_classification():
    torch.manual_seed(0)
    prompts, labels = normalize(torch.randn(5, 4), dim=1), torch.randint(5, (60,))
    images = prompts[labels] + 0.5 * torch.randn(60, 4)
    scores = images.double() @ prompts.double().T
    right = sum(int(row.argmax()) == label for row, label in zip(scores, labels.tolist(), strict=True))
    assert 0 < right < 60
    assert classification_accuracy(images, prompts, labels) == pytest.approx(100 * right / 60)


def test_a_collapsed_model_is_right_by_chance_only():
    labels = torch.arange(4).repeat(3)
    assert classification_accuracy(torch.ones(12, 3), torch.ones(4, 3), labels) == 25.0


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="in pairs, not 2 and 3"):
        image_text_recall(torch.eye(2), torch.ones(3, 2))
    with pytest.raises(ValueError, match="in pairs, not 2 and 2 and 1 groups"):
        image_text_recall(torch.eye(2), torch.eye(2), groups=["a"])
    with pytest.raises(ValueError, match=r"labels must lie in 0\.\.1"):
        classification_accuracy(torch.eye(2), torch.eye(2), torch.tensor([0, 2]))
    with pytest.raises(ValueError, match="one label"):
        classification_accuracy(torch.eye(2), torch.eye(2), torch.tensor([0]))
    with pytest.raises(ValueError, match="non-finite"):
        classification_accuracy(torch.full((1, 2), torch.nan), torch.eye(2), torch.tensor([0]))
