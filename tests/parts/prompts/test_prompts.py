from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from clplat.config.resolve import resolve, spaces
from clplat.errors import UserError
from clplat.models.backbone import Backbone
from clplat.parts.prompts._base import Prompt, TowerPrompt
from clplat.parts.prompts.context import ContextPrompt
from clplat.parts.prompts.deep import DeepPrompt

VISION = {"image_size": 24, "layers": 3, "width": 48, "head_width": 16, "patch_size": 12}
TEXT = {"context_length": 10, "width": 32, "heads": 2, "layers": 2, "vocab_size": 49408}
CONFIG = {"embed_dim": 32, "vision_cfg": VISION, "text_cfg": TEXT}
TEXTS = ["a red shoe", "dog", "one two three four five six seven eight"]


@pytest.fixture
def backbone() -> Backbone:
    return Backbone.random(CONFIG, seed=0)


def pixels() -> Tensor:
    return torch.randn(3, 3, 24, 24, generator=torch.Generator().manual_seed(0))


class Fixed(TowerPrompt):
    """Given vectors at given layers."""

    def __init__(self, vectors: dict[int, Tensor]) -> None:
        super().__init__()
        self.length = len(vectors[0])
        self.vectors = nn.ParameterDict({str(layer): value for layer, value in vectors.items()})

    def forward(self, layer: int) -> Tensor | None:
        return self.vectors.get(str(layer))


def test_a_text_prompt_reads_like_words_before_the_caption(backbone: Backbone) -> None:
    expected = backbone.text(backbone.tokenize(["a photo of dog", "a photo of a red shoe"])).pooled
    words = backbone.embed_text(backbone.tokenize(["a photo of"]))[0, 1:4]
    backbone.text_prompt = Fixed({0: words})
    features = backbone.text(backbone.tokenize(["dog", "a red shoe"]), tokens=True, hidden=True)
    torch.testing.assert_close(features.pooled, expected, atol=2e-6, rtol=1e-4)
    assert features.ends.tolist() == [2, 4], "tokens and ends are those of the caption"
    assert features.tokens.shape == (2, 5, 32) and [h.shape for h in features.hidden] == [(2, 5, 32)] * 2


def test_long_texts_lose_words_but_never_their_end(backbone: Backbone) -> None:
    # Ten places: SOS, 3 prompts, 5 words, EOT.
    words = backbone.embed_text(backbone.tokenize(["a photo of"]))[0, 1:4]
    expected = backbone.text(backbone.tokenize(["a photo of one two three four five"])).pooled
    backbone.text_prompt = Fixed({0: words})
    texts = ["one two three four five six seven", "dog"]
    features = backbone.text(backbone.tokenize(texts), tokens=True)
    torch.testing.assert_close(features.pooled[:1], expected, atol=2e-6, rtol=1e-4)
    assert features.ends.tolist() == [6, 2]
    assert backbone.truncated(texts) == [0] and backbone.truncated(["one two three four five"]) == []


def test_an_image_prompt_is_extra_tokens_replaced_layer_by_layer(backbone: Backbone) -> None:
    generator = torch.Generator().manual_seed(1)
    first, second = (torch.randn(2, 48, generator=generator) for _ in range(2))
    visual = backbone.model.visual
    x = visual._embeds(pixels())
    blocks = visual.transformer.resblocks
    x = torch.cat([x[:, :1], first.expand(3, -1, -1), x[:, 1:]], dim=1)
    x = blocks[1](blocks[0](x))
    x = torch.cat([x[:, :1], second.expand(3, -1, -1), x[:, 3:]], dim=1)
    expected = visual.ln_post(blocks[2](x))[:, 0] @ visual.proj
    backbone.image_prompt = Fixed({0: first, 2: second})
    for extra in (False, True):
        features = backbone.image(pixels(), tokens=extra, hidden=extra)
        torch.testing.assert_close(features.pooled, expected, atol=2e-6, rtol=1e-4)
    assert features.tokens.shape == (3, 4, 48) and [h.shape for h in features.hidden] == [(3, 5, 48)] * 3


PROMPTS = {
    "context": ContextPrompt(),
    "context with words": ContextPrompt(words="a photo of a"),
    "deep": DeepPrompt(),
    "deep, one layer": DeepPrompt(depth=1),
    "deep, uncoupled": DeepPrompt(length=3, coupled=False),
}


@pytest.mark.parametrize("prompt", PROMPTS.values(), ids=PROMPTS)
def test_prompts_train_themselves_only(backbone: Backbone, prompt: Prompt) -> None:
    before, ids = backbone.fingerprint(), backbone.tokenize(TEXTS)
    base = {key: value.clone() for key, value in backbone.stock_state_dict().items()}
    torch.manual_seed(0)
    names = prompt.attach(backbone)
    assert (
        sorted(names) == sorted(name for name, p in backbone.named_parameters() if p.requires_grad) and names
    )
    assert len(set(backbone.state_dict())) == len(
        {id(p) for p in backbone.state_dict(keep_vars=True).values()}
    )
    attached = backbone.fingerprint()
    assert attached != before
    optimizer = torch.optim.Adam([backbone.get_parameter(name) for name in names], lr=1e-2)
    loss = backbone.image(pixels()).pooled.square().sum() + backbone.text(ids).pooled.square().sum()
    loss.backward()
    assert all(backbone.get_parameter(name).grad.abs().sum() > 0 for name in names)
    optimizer.step()
    assert backbone.fingerprint() != attached
    assert all(torch.equal(value, base[key]) for key, value in backbone.stock_state_dict().items())

    # A copy owns its prompts, coupled ones too; and a new model takes them from a state dict.
    text, image = backbone.text(ids).pooled, backbone.image(pixels()).pooled
    teacher, resumed = copy.deepcopy(backbone), Backbone.random(CONFIG, seed=5)
    prompt.attach(resumed)
    resumed.load_state_dict(backbone.state_dict())
    with torch.no_grad():
        for name in names:
            backbone.get_parameter(name).add_(1.0)
    for other in (teacher, resumed):
        torch.testing.assert_close(other.text(ids).pooled, text)
        torch.testing.assert_close(other.image(pixels()).pooled, image)
    assert not torch.allclose(backbone.text(ids).pooled, text)


def test_the_same_seed_gives_the_same_prompt() -> None:
    fingerprints = []
    for seed in (1, 1, 2):
        backbone = Backbone.random(CONFIG, seed=0)
        torch.manual_seed(seed)
        DeepPrompt().attach(backbone)
        fingerprints.append(backbone.fingerprint())
    assert fingerprints[0] == fingerprints[1] != fingerprints[2]


def test_context_can_start_from_words(backbone: Backbone) -> None:
    expected = backbone.text(backbone.tokenize(["a photo of a dog"])).pooled
    ContextPrompt(length=4, words="a photo of a").attach(backbone)
    torch.testing.assert_close(
        backbone.text(backbone.tokenize(["dog"])).pooled, expected, atol=2e-6, rtol=1e-4
    )


def test_towers_of_different_depth(backbone: Backbone) -> None:
    names = DeepPrompt().attach(backbone)
    assert len([name for name in names if name.startswith("text_prompt")]) == 2
    assert (
        len([name for name in names if name.startswith("image_prompt")]) == 4
    )  # weights and biases of two maps
    other = Backbone.random(CONFIG, seed=0)
    DeepPrompt(coupled=False).attach(other)
    assert len(other.image_prompt.vectors) == 3


def test_prompts_that_cannot_be_attached(backbone: Backbone, tmp_path: Path) -> None:
    for prompt, message in [
        (ContextPrompt(length=8), "allows 1 to 7"),
        (DeepPrompt(length=0), "allows 1 to 7"),
        (DeepPrompt(depth=4), "towers have 3 layers"),
        (ContextPrompt(length=2, words="a photo of a"), "is 4 tokens, but length is 2"),
    ]:
        with pytest.raises(UserError, match=message):
            prompt.attach(backbone)
    assert backbone.text_prompt is None and backbone.image_prompt is None
    ContextPrompt().attach(backbone)
    with pytest.raises(UserError, match="attached already"):
        DeepPrompt().attach(backbone)
    with pytest.raises(UserError, match="a prompt is attached"):
        backbone.save(tmp_path)
    resnet = {"layers": [1, 1, 1, 1], "image_size": 32, "width": 8, "head_width": 16}
    with pytest.raises(UserError, match=r"image tower .* takes no prompt"):
        DeepPrompt().attach(Backbone.random({**CONFIG, "vision_cfg": resnet}, seed=0))
    both = {**TEXT, "no_causal_mask": True}
    with pytest.raises(UserError, match=r"text tower .* takes no prompt"):
        ContextPrompt().attach(Backbone.random({**CONFIG, "text_cfg": both, "custom_text": True}, seed=0))


def test_an_opaque_tower_refuses_a_prompt_put_in_by_hand() -> None:
    resnet = {"layers": [1, 1, 1, 1], "image_size": 32, "width": 8, "head_width": 16}
    backbone = Backbone.random({**CONFIG, "vision_cfg": resnet}, seed=0)
    backbone.image_prompt = Fixed({0: torch.zeros(1, 8)})
    with pytest.raises(UserError, match="has no prompt here"):
        backbone.image(torch.zeros(1, 3, 32, 32))


def test_constructors_are_search_spaces() -> None:
    for name, own in (("context", {"prompt.length"}), ("deep", {"prompt.length", "prompt.coupled"})):
        assert {key for key in spaces(resolve({"prompt": name})) if key.startswith("prompt.")} == own
