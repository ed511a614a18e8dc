"""Initial: the model before the stream."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from clplat.errors import UserError
from clplat.mechanisms.teacher import Teacher
from clplat.parts.teachers._base import TeacherPart

__all__ = ["Initial"]


class Initial(TeacherPart):
    """The model before the stream: what was pretrained, as in ZSCL.

    Args:
        unprompted: without prompts, which start from noise: the frozen towers that prompt learners are held
            to (KgCoOp, PromptSRC).
        contexts: texts stand behind these hand-made words, such as "a photo of a", in place of a learnt
            prompt; of several it is the mean of their unit features. Only with ``unprompted``.

    Raises:
        ValueError: contexts of a teacher with prompts.

    References:
        Zheng et al. 2023 (ZSCL), arXiv 2303.06628; Yao et al. 2023 (KgCoOp), arXiv 2303.13283; Khattak et al.
        2023 (PromptSRC), arXiv 2307.06948.

    Example:
        >>> Initial().bytes()
        0
    """

    def __init__(self, unprompted: bool = False, contexts: Sequence[str] = ()) -> None:
        if contexts and not unprompted:
            raise ValueError("contexts take the place of prompts: they need unprompted")
        self.unprompted, self.contexts = unprompted, list(contexts)
        self._held = Teacher(which="initial")

    @contextmanager
    def _active(self, model: Any) -> Iterator[None]:
        with super()._active(model):
            if not self.unprompted:
                yield
                return
            backbone = getattr(model, "backbone", None)
            if backbone is None:
                raise UserError("a teacher without prompts needs a ComposedRetriever as the model")
            prompts = backbone.text_prompt, backbone.image_prompt
            backbone.text_prompt, backbone.image_prompt = self._words(backbone), None
            try:
                yield
            finally:
                backbone.text_prompt, backbone.image_prompt = prompts

    def _words(self, backbone: Any) -> Any:
        """Hand-made words as a prompt."""
        # Here, since they load open_clip, which a loop of one's own can do without.
        from clplat.mechanisms.prompt_inputs import Sets
        from clplat.mechanisms.prompt_sources import Free
        from clplat.mechanisms.prompt_words import embedded

        made = [Free(embedded(backbone, words)) for words in self.contexts]
        if not made:
            return None
        prompt: Any = made[0] if len(made) == 1 else Sets(made)
        return prompt.to(backbone.logit_scale).requires_grad_(False).eval()
