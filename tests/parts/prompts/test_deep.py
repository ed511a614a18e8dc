"""Prompts of both towers at several layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from clplat.config.resolve import resolve, spaces
from clplat.errors import UserError
from clplat.models.backbone import Backbone
from clplat.parts.prompts._base import Prompt
from clplat.parts.prompts.context import ContextPrompt
from clplat.parts.prompts.deep import DeepPrompt
from clplat.testing import PromptContract

CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "maple": {},
    "from an image": {"leads": "image", "first": 1},
    "from one tensor": {"leads": "shared", "maps": "one"},
    "prefixes": {"towers": "image", "form": "prefix", "first": 1},
    "by the reference": {"towers": "text", "depth": 1, "moved_by": "reference"},
    "by itself": {"coupled": False, "depth": 1, "moved_by": "own"},
    "several": {"towers": "text", "depth": 1, "sets": (1, 2)},
    "encoded": {"towers": "text", "depth": 1, "network": "lstm"},
}


class TestDeepPrompt(PromptContract):
    @pytest.fixture(autouse=True, params=CONFIGURATIONS)
    def part(self, request: pytest.FixtureRequest) -> None:
        self.options = CONFIGURATIONS[request.param]

    def make(self) -> Prompt:
        return DeepPrompt(**self.options)


@pytest.mark.parametrize(
    "prompt",
    [DeepPrompt(), DeepPrompt(depth=1), DeepPrompt(length=3, coupled=False), DeepPrompt(leads="shared")],
    ids=["deep", "one layer", "uncoupled", "shared"],
)
def test_it_trains_itself_only(prompt: Prompt, trains_itself_only: Callable[[Prompt], None]) -> None:
    trains_itself_only(prompt)


def test_the_same_seed_gives_the_same_prompt(random_model: Callable[..., Backbone]) -> None:
    fingerprints = []
    for seed in (1, 1, 2):
        backbone = random_model(seed=0)
        torch.manual_seed(seed)
        DeepPrompt().attach(backbone)
        fingerprints.append(backbone.fingerprint())
    assert fingerprints[0] == fingerprints[1] != fingerprints[2]


def test_towers_of_different_depth(random_model: Callable[..., Backbone], backbone: Backbone) -> None:
    names = DeepPrompt().attach(backbone)
    assert len([name for name in names if name.startswith("text_prompt")]) == 2
    assert (
        len([name for name in names if name.startswith("image_prompt")]) == 4
    )  # weights and biases of two maps
    other = random_model(seed=0)
    DeepPrompt(coupled=False).attach(other)
    assert len(other.image_prompt.vectors) == 3


def test_one_that_cannot_be_attached(backbone: Backbone, random_model: Callable[..., Backbone]) -> None:
    for prompt, message in [
        (DeepPrompt(length=0), "allows 1 to 7"),
        (DeepPrompt(depth=4), "towers have 3 layers"),
    ]:
        with pytest.raises(UserError, match=message):
            prompt.attach(backbone)
    assert backbone.text_prompt is None and backbone.image_prompt is None
    ContextPrompt().attach(backbone)
    with pytest.raises(UserError, match="attached already"):
        DeepPrompt().attach(backbone)
    resnet = {"layers": [1, 1, 1, 1], "image_size": 32, "width": 8, "head_width": 16}
    with pytest.raises(UserError, match=r"image tower .* takes no prompt"):
        DeepPrompt().attach(random_model(vision_cfg=resnet))


def test_widths_are_read_from_the_backbone(random_model: Callable[..., Backbone]) -> None:
    """MaPLe's public code has 512 and 768 written in it; these towers have neither."""
    for leads in ("text", "image", "shared"):
        backbone = random_model()
        DeepPrompt(leads=leads).attach(backbone)
        assert (backbone.text_width, backbone.image_width) == (32, 48)
        for prompt, width in ((backbone.text_prompt, 32), (backbone.image_prompt, 48)):
            assert prompt(0).shape == (2, width)


def test_the_lowest_text_vectors_start_from_words(backbone: Backbone) -> None:
    expected = backbone.text(backbone.tokenize(["a photo of a dog"])).pooled
    DeepPrompt(length=4, depth=1, words="a photo of a", coupled=False).attach(backbone)
    found = backbone.text(backbone.tokenize(["dog"])).pooled
    torch.testing.assert_close(found, expected, atol=2e-6, rtol=1e-4)


def test_the_constructor_is_the_search_space() -> None:
    own = {key for key in spaces(resolve({"prompt": "deep"})) if key.startswith("prompt.")}
    assert own == {"prompt.length", "prompt.coupled"}
