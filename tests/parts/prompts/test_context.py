"""Context vectors read like words before the caption."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from clplat.config.resolve import resolve, spaces
from clplat.errors import UserError
from clplat.models.backbone import Backbone
from clplat.parts.prompts._base import Prompt
from clplat.parts.prompts.context import ContextPrompt


@pytest.mark.parametrize(
    "prompt", [ContextPrompt(), ContextPrompt(words="a photo of a")], ids=["random", "words"]
)
def test_it_trains_itself_only(prompt: Prompt, trains_itself_only: Callable[[Prompt], None]) -> None:
    trains_itself_only(prompt)


def test_context_can_start_from_words(backbone: Backbone) -> None:
    expected = backbone.text(backbone.tokenize(["a photo of a dog"])).pooled
    ContextPrompt(length=4, words="a photo of a").attach(backbone)
    torch.testing.assert_close(
        backbone.text(backbone.tokenize(["dog"])).pooled, expected, atol=2e-6, rtol=1e-4
    )


def test_one_that_cannot_be_attached(
    backbone: Backbone, random_model: Callable[..., Backbone], tmp_path: Path
) -> None:
    for prompt, message in [
        (ContextPrompt(length=8), "allows 1 to 7"),
        (ContextPrompt(length=2, words="a photo of a"), "is 4 tokens, but length is 2"),
    ]:
        with pytest.raises(UserError, match=message):
            prompt.attach(backbone)
    assert backbone.text_prompt is None and backbone.image_prompt is None
    ContextPrompt().attach(backbone)
    with pytest.raises(UserError, match="a prompt is attached"):
        backbone.save(tmp_path)
    both = {**backbone.model_cfg["text_cfg"], "no_causal_mask": True}
    with pytest.raises(UserError, match=r"text tower .* takes no prompt"):
        ContextPrompt().attach(random_model(text_cfg=both, custom_text=True))


def test_the_constructor_is_the_search_space() -> None:
    own = {key for key in spaces(resolve({"prompt": "context"})) if key.startswith("prompt.")}
    assert own == {"prompt.length"}
