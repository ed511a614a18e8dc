"""Masked words by hand: which are hidden, what the tower reads, how patches answer, what is left out."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import gelu

from clplat.models.outputs import Outputs, Rows
from clplat.models.view import Towers
from clplat.parts.adapters.full import Full
from clplat.parts.losses.masked_words import MaskedWords
from clplat.progress import Progress
from clplat.randomness import seeded
from clplat.testing import tiny_backbone, tiny_collate, tiny_domains, tiny_retriever

BATCH = tiny_collate()(tiny_domains()[0].train[:4])


def made(backbone: Any = None, **options: Any) -> MaskedWords:
    loss = MaskedWords(**{"depth": 1, **options})
    with seeded(0, "masked words"):
        loss.attach(Towers(tiny_backbone() if backbone is None else backbone))
    return loss


def normed(x: Tensor, layer: Any) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    scaled = centred / (centred.square().mean(-1, keepdim=True) + layer.eps).sqrt()
    found: Tensor = scaled * layer.weight.double() + layer.bias.double()
    return found


def attended(asking: Tensor, shown: Tensor, layer: Any) -> Tensor:
    """Attention with one head, in float64."""
    q, k, v = (
        rows @ weight.double().T + bias.double()
        for rows, weight, bias in zip(
            (asking, shown, shown), layer.in_proj_weight.chunk(3), layer.in_proj_bias.chunk(3), strict=True
        )
    )
    shares = (q @ k.T / math.sqrt(q.shape[1])).softmax(1)
    return linear(shares @ v, layer.out_proj)


def linear(x: Tensor, layer: Any) -> Tensor:
    found: Tensor = x @ layer.weight.double().T + layer.bias.double()
    return found


@torch.no_grad()
def test_masked_words_are_told_from_patches_by_hand() -> None:
    loss, draw = made(), torch.Generator().manual_seed(1)
    block: Any = loss.blocks[0]
    words, patches = (torch.randn(2, n, 24, generator=draw) for n in (6, 4))
    ends, masked = torch.tensor([5, 3]), torch.zeros(2, 6, dtype=torch.bool)
    masked[0, 2] = masked[1, 1] = True
    found = loss.told(words, patches, ends, masked)
    for row, (place, end) in enumerate([(2, 5), (1, 3)]):
        h, v = normed(words[row].double(), loss.words), normed(patches[row].double(), loss.patches)
        x = attended(h[: end + 1], v, loss.asks)  # nothing behind the EOT is looked at
        y = normed(x, block.norm1)
        x = x + attended(y, y, block.self_attn)
        x = x + linear(gelu(linear(normed(x, block.norm2), block.linear1)), block.linear2)
        dense, _, norm, names = loss.head
        told = linear(normed(gelu(linear(normed(x, loss.last)[place], dense)), norm), names)
        torch.testing.assert_close(found[row].double(), told, atol=1e-4, rtol=1e-4)


def test_a_share_of_words_is_hidden_one_at_least_and_never_the_ends() -> None:
    loss, texts = made(share=0.3), BATCH.texts
    ends = Towers(tiny_backbone()).text_ends(texts.ids)
    counts, total = torch.zeros(3), 0
    for step in range(100):
        masked, given, hidden = loss.masked(texts.ids, texts.said, Progress(step=step))
        at = torch.arange(masked.shape[1])
        assert masked.any(1).all() and not masked[:, 0].any() and not (masked & (at >= ends[:, None])).any()
        swapped = given != texts.ids
        assert not (hidden & ~masked).any() and not (swapped & (~masked | hidden)).any()
        counts += torch.stack([masked.sum(), hidden.sum(), swapped.sum()])
        total += int((ends - 1).sum())
    # Of the share, four fifths hidden and a tenth swapped; a text of which none was drawn hides its first.
    expected = 0.3 + 0.7 ** int(ends[0] - 1) / int(ends[0] - 1)
    assert float(counts[0]) / total == pytest.approx(expected, abs=0.05)
    assert float(counts[2]) / total == pytest.approx(0.03, abs=0.02)
    alone = loss.masked(texts.ids[2:3], texts.said[2:3], Progress(step=99))
    assert torch.equal(alone[0][0], masked[2]), "whatever else is in the batch"


def test_the_cost_is_that_of_the_words_that_stood_there_and_of_their_weights() -> None:
    loss, towers = made(), Towers(tiny_backbone())
    weights = torch.tensor([1.0, 0.0, 2.0, 1.0])
    own = replace(BATCH.columns["weights"], value=weights)
    batch = replace(BATCH, columns={**BATCH.columns, "weights": own})
    patches = torch.randn(4, 4, 32, generator=torch.Generator().manual_seed(2))
    outputs = Outputs(torch.zeros(4, 24), torch.zeros(4, 24), torch.tensor(1.0))
    outputs.parts = {"candidate_tokens": Rows(patches, "candidate")}
    with torch.no_grad():
        found = loss(outputs, batch, Progress())
        length = max(batch.texts.lengths)
        ids = batch.texts.ids[:, :length]
        masked, given, hidden = loss.masked(ids, batch.texts.said, Progress())
        read = towers.embed_text(given)
        read[hidden] = loss.mask
        ends = towers.text_ends(ids)
        tokens: Any = towers.text_from_embeddings(read, ends, {"tokens"}).tokens
        told = loss.told(towers.joint_words(tokens), towers.joint_patches(patches), ends, masked).double()
    total = mass = 0.0
    for logits, (row, place) in zip(told, masked.nonzero().tolist(), strict=True):
        total += float(weights[row] * (logits.logsumexp(0) - logits[int(ids[row, place])]))
        mass += float(weights[row])
    assert float(found) == pytest.approx(total / mass, rel=1e-5)


def test_a_retriever_gives_patches_of_candidates_where_its_loss_wants_them() -> None:
    model = tiny_retriever(Full()).train()
    assert "candidate_tokens" not in model(BATCH).parts
    loss = made(model.backbone)
    model.asked = loss.wanted
    found = model(BATCH)
    tokens: Any = model.backbone.image(BATCH.pictures.pixels[4:], {"tokens"}).tokens
    torch.testing.assert_close(found["candidate_tokens"], tokens, atol=1e-5, rtol=0)
    loss(found, BATCH, Progress()).backward()
    reached = {name for name, p in model.backbone.named_parameters() if p.grad is not None and p.grad.any()}
    assert {"model.visual.proj", "model.text_projection"} <= reached, "both towers learn by it"
    model.eval()
    assert "candidate_tokens" not in model(BATCH).parts


def test_what_it_refuses() -> None:
    with pytest.raises(ValueError, match="share must be in"):
        MaskedWords(share=1.0)
