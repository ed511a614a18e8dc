"""Sources of prompt vectors, and how a tower takes them at any layer, kept below and in several passes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from clplat.cache.engine import FeatureCache
from clplat.cache.store import Store
from clplat.data.inputs import Images, Texts
from clplat.errors import UserError
from clplat.mechanisms.prompt_inputs import ByReference, Sets, pairwise_cosine
from clplat.mechanisms.prompt_sources import Free, Mapped
from clplat.models.backbone import Backbone
from clplat.models.features import POOLED, ImageFeatures, TextFeatures
from clplat.parts.prompts.context import ContextPrompt
from clplat.parts.prompts.deep import DeepPrompt
from clplat.randomness import generator, seeded
from clplat.testing.tiny import tiny_backbone

PIXELS = torch.randint(0, 256, (4, 3, 16, 16), dtype=torch.uint8, generator=generator(0, "pixels"))
SAID = ["a red shoe", "dog", "longer and in green", "dog"]
ALL = POOLED | {"tokens", "hidden", "states"}


def prompted(prompt: Any) -> Backbone:
    backbone = tiny_backbone()
    with seeded(0, "prompt"):
        prompt.attach(backbone)
    return backbone


def vectors(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# -- at any layer ------------------------------------------------------------------------------------------


def test_tokens_of_texts_enter_at_a_layer_as_a_loop_over_blocks_puts_them() -> None:
    backbone = tiny_backbone()
    tower = backbone.model
    first, second = vectors(2, 48), vectors(2, 48, seed=1)
    ids = backbone.tokenize(SAID)
    ends = backbone.text_ends(ids)
    x = tower.token_embedding(ids) + tower.positional_embedding
    blocks, mask = tower.transformer.resblocks, tower.attn_mask
    x = blocks[0](x, attn_mask=mask)
    room = len(mask) - 2
    x = torch.cat([x[:, :1], first.expand(len(x), -1, -1), x[:, 1:room]], dim=1)
    for i, block in enumerate(blocks[1:], 1):
        if i == 2:
            x = torch.cat([x[:, :1], second.expand(len(x), -1, -1), x[:, 3:]], dim=1)
        x = block(x, attn_mask=mask)
    rows = torch.arange(len(x))
    expected = tower.ln_final(x)[rows, ends + 2] @ tower.text_projection
    depth = min(2, len(blocks) - 1)
    backbone.text_prompt = Free([first, second][:depth], first=1)
    for wants in (POOLED, ALL):
        found = backbone.text(ids, wants)
        torch.testing.assert_close(found.pooled, expected, atol=2e-6, rtol=1e-4)
    assert found.tokens is not None and len(found.hidden) == len(blocks) and found.states is not None
    bare = backbone.text(ids, ALL, bare=True)
    torch.testing.assert_close(found.hidden[0], bare.hidden[0]), "the blocks below see nothing of it"
    torch.testing.assert_close(found.states[:, 0], bare.states[:, 0])
    assert not torch.allclose(found.hidden[1], bare.hidden[1])


@pytest.mark.parametrize("form", ["tokens", "prefix"])
@pytest.mark.parametrize("tower", ["image", "text"])
def test_what_is_below_the_lowest_prompted_layer_is_kept(form: Any, tower: Any) -> None:
    backbone = prompted(DeepPrompt(length=2, first=1, depth=1, towers=tower, form=form))
    features, texts = FeatureCache(backbone, Store(None)), Texts(backbone.tokenize(SAID))
    images = Images.of(PIXELS, list("abcd"), "small")
    prompt: Any = getattr(backbone, f"{tower}_prompt")
    for _ in range(2):
        shown, said = features.image(images).pooled, features.text(texts).pooled
        torch.testing.assert_close(shown, backbone.image(PIXELS).pooled, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(said, backbone.text(texts.ids).pooled, atol=1e-5, rtol=1e-4)
        (shown if tower == "image" else said).sum().backward()
        assert all(p.grad is not None and p.grad.any() for p in prompt.parameters())
        with torch.no_grad():
            for parameter in prompt.parameters():
                parameter.add_(0.1)
    assert features.counts[tower].cuts == {"block 1": 2} and not features.live_images()
    assert features.counts[tower].encoded == (4 if tower == "image" else 3), "once, whatever is trained above"


def test_a_text_moved_by_its_reference_is_kept_below_the_prompt() -> None:
    backbone = prompted(DeepPrompt(length=2, first=1, depth=1, towers="text", moved_by="reference"))
    features, texts = FeatureCache(backbone, Store(None)), Texts(backbone.tokenize(SAID))
    other = backbone.image(PIXELS)
    for given in (other, None, other):
        found = features.text(texts, other=given).pooled
        torch.testing.assert_close(found, backbone.text(texts.ids, other=given).pooled, atol=1e-5, rtol=1e-4)
    assert features.counts["text"].cuts == {"block 1": 3}
    backbone.requires_grad_(False)
    assert not torch.equal(features.text(texts, other=other).pooled, features.text(texts).pooled)


# -- sources -----------------------------------------------------------------------------------------------


def test_coupled_vectors_are_linear_maps_whoever_leads() -> None:
    for leads, one in (("text", False), ("image", False), ("shared", False), ("text", True)):
        backbone = prompted(DeepPrompt(length=3, leads=leads, maps="one" if one else "each"))
        prompts: dict[str, Any] = {"text": backbone.text_prompt, "image": backbone.image_prompt}
        mapped = [tower for tower, prompt in prompts.items() if isinstance(prompt, Mapped)]
        assert mapped == {"text": ["image"], "image": ["text"], "shared": ["text", "image"]}[leads]
        for tower in mapped:
            prompt = prompts[tower]
            for layer in range(prompt.depth):
                linear = prompt.maps[0 if one else layer]
                start = prompt.source[0].vectors[layer]
                expected = start.double() @ linear.weight.double().T + linear.bias.double()
                torch.testing.assert_close(prompt(layer).double(), expected, atol=1e-6, rtol=1e-5)
                assert prompt(layer).shape == (3, backbone.text_width if tower == "text" else 32)
        names = [name for name, _ in backbone.named_parameters() if name.endswith("vectors.0")]
        assert len(names) == 1, "vectors have one name, that of the tower that owns them"


def test_a_network_folds_to_the_vectors_that_it_makes() -> None:
    backbone = prompted(DeepPrompt(length=3, depth=2, towers="text", network="lstm", words="a photo of"))
    ids, prompt = backbone.tokenize(SAID), backbone.text_prompt
    source, lstm = prompt.source.vectors[0], prompt.network.lstm
    made = _lstm(lstm, source)
    torch.testing.assert_close(prompt(0).double(), source.double() + made, atol=1e-6, rtol=1e-5)
    with torch.no_grad():
        before = backbone.text(ids).pooled
        backbone.text_prompt = prompt.folded()
        assert [name for name, _ in backbone.text_prompt.named_parameters()] == ["vectors.0", "vectors.1"]
        assert torch.equal(backbone.text(ids).pooled, before), "to the bit, without the network"


def _lstm(lstm: Any, rows: Tensor) -> Tensor:
    """Both ways, step by step in double precision."""
    held = {name: p.detach().double() for name, p in lstm.named_parameters()}
    ways = []
    for way in ("", "_reverse"):
        hidden = cell = torch.zeros(lstm.hidden_size).double()
        outputs = []
        for x in rows.detach().double() if not way else rows.detach().double().flip(0):
            gates = held[f"weight_ih_l0{way}"] @ x + held[f"bias_ih_l0{way}"]
            gates = gates + held[f"weight_hh_l0{way}"] @ hidden + held[f"bias_hh_l0{way}"]
            i, f, g, o = gates.chunk(4)
            cell = f.sigmoid() * cell + i.sigmoid() * g.tanh()
            hidden = o.sigmoid() * cell.tanh()
            outputs.append(hidden)
        made = torch.stack(outputs)
        ways.append(made.flip(0) if way else made)
    return torch.cat(ways, dim=1)


def test_a_reference_moves_all_vectors_of_its_text_alike() -> None:
    backbone = prompted(DeepPrompt(length=2, depth=1, towers="text", moved_by="reference"))
    prompt = backbone.text_prompt
    assert isinstance(prompt, ByReference)
    seen = ImageFeatures(pooled=7 * vectors(3, backbone.embed_dim))
    first, last = prompt.net[0], prompt.net[2]
    unit = seen.pooled.double() / seen.pooled.double().norm(dim=1, keepdim=True)
    hidden = (unit @ first.weight.double().T + first.bias.double()).clamp(min=0)
    shift = hidden @ last.weight.double().T + last.bias.double()
    chosen = prompt.begin(None, seen)(0)
    assert chosen is not None and chosen.shape == (3, 2, backbone.text_width)
    expected = prompt.source.vectors[0].double() + shift[:, None]
    torch.testing.assert_close(chosen.double(), expected, atol=1e-6, rtol=1e-5)
    alone = prompt.begin(None, None)(0)
    assert torch.equal(alone, prompt.source.vectors[0]), "a text alone has no reference"
    assert first.out_features == max(1, backbone.embed_dim // 16)
    with pytest.raises(UserError, match="cannot be folded"):
        prompt.begin(None, seen).folded()


# -- several sets ------------------------------------------------------------------------------------------


def test_the_embedding_of_several_sets_is_the_mean_direction_of_their_own() -> None:
    backbone = prompted(DeepPrompt(sets=(1, 3), depth=1, towers="text"))
    ids, sets = backbone.tokenize(SAID), backbone.text_prompt
    assert isinstance(sets, Sets) and sets.length == 3
    found = backbone.text(ids, {"pooled", "sets", "tokens"})
    each = []
    for part in sets.passes:
        backbone.text_prompt = part
        each.append(backbone.text(ids, {"pooled", "tokens"}))
    rows = torch.stack([one.pooled for one in each], dim=1)
    torch.testing.assert_close(found.sets, rows)
    norms = rows.double().norm(dim=2)
    mean = (rows.double() / norms[..., None]).mean(1) * norms.mean(1, keepdim=True)
    torch.testing.assert_close(found.pooled.double(), mean, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(found.tokens, (each[0].tokens + each[1].tokens) / 2)
    backbone.text_prompt = None
    plain = backbone.text(ids, {"pooled", "sets"})
    assert torch.equal(plain.sets[:, 0], plain.pooled) and plain.sets.shape[1] == 1


def test_texts_that_lose_words_lose_the_same_in_all_sets() -> None:
    backbone = prompted(DeepPrompt(sets=(1, 4), depth=1, towers="text"))
    long = " ".join(["dog"] * 40)
    assert backbone.truncated([long]) == [0]
    found = backbone.text(backbone.tokenize([long]), {"pooled", "tokens"})
    assert found.tokens.shape[1] == backbone.context_length - 4 and found.ends.tolist() == [
        backbone.context_length - 5
    ]


def test_how_alike_sets_are() -> None:
    rows = vectors(5, 4, 8)
    expected = []
    for row in rows.double():
        cosines = [
            float(row[i] @ row[j] / row[i].norm() / row[j].norm())
            for i in range(4)
            for j in range(4)
            if i != j
        ]
        expected.append(sum(cosines) / 12)
    torch.testing.assert_close(pairwise_cosine(rows).double(), torch.tensor(expected).double())


def test_text_features_of_several_sets_are_cut_with_their_rows() -> None:
    made = TextFeatures(pooled=vectors(3, 4), sets=vectors(3, 2, 4))
    assert torch.equal(made.part([2, 0]).sets, made.sets[[2, 0]])


# -- what is refused ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"towers": "none"}, "towers is 'none'; allowed: both, image, text"),
        ({"first": -1}, "first must be at least 0"),
        ({"words": "a", "towers": "image"}, "words start the text tower's own"),
        ({"words": "a", "leads": "shared"}, "words start the text tower's own"),
        ({"sets": (1, 2)}, "neither coupled"),
        ({"sets": (2, 2), "towers": "text", "words": "a"}, "stay equal"),
        ({"towers": "image", "moved_by": "reference"}, "moves the vectors of texts"),
    ],
)
def test_options_that_do_not_go_together(options: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        DeepPrompt(**options)


def test_layers_that_are_not_there() -> None:
    with pytest.raises(UserError, match="layers from layer 2 on"):
        DeepPrompt(first=2, depth=9).attach(tiny_backbone())
    backbone = prompted(ContextPrompt(2))
    with pytest.raises(UserError, match="a text prompt is attached already"):
        DeepPrompt().attach(backbone)
