"""Negated texts: a picture is nearer to what is said of it than to the same text negated."""

from __future__ import annotations

from typing import Annotated, Any

from torch import Tensor
from torch.nn.functional import normalize, softplus

from clplat.config.space import Float
from clplat.errors import UserError
from clplat.mechanisms.text_prompts import filled
from clplat.training.strategy import Strategy, SupportsLearning

__all__ = ["NegatedTexts"]


class NegatedTexts(Strategy):
    """The negation of a query's text lies further from its target than the text itself.

    ``loss = weight * mean_i -log( e^(s cos(t_i, x_i)) / (e^(s cos(t_i, x_i)) + e^(s cos(t_i, n_i))) )`` with
    x_i the text tower's feature of a text, n_i that of the text in ``template``, t_i the embedding of the
    answer, and s the model's logit scale.

    Args:
        weight: of the term.
        template: the negation of a text ``{text}``.

    Raises:
        ValueError: a template without ``{text}``, or a negative weight.

    References:
        Kim and Angelova 2025 (CAMP), arXiv 2508.02762, whose third loss it is.

    Needs:
        A `ComposedRetriever` of single vectors, and another pass of the text tower with twice the texts.

    Relations:
        `negclip`, a recipe, swaps words; prompts `AdaptiveTokens`.

    Example:
        >>> from strategies import NegatedTexts
        >>> NegatedTexts(template="no {text}").template
        'no {text}'
    """

    any_module = False
    needs_embeddings = True
    terms = ("negation",)

    def __init__(
        self, weight: Annotated[float, Float(0.03, 1.0, log=True)] = 0.1, template: str = "not {text}"
    ) -> None:
        if "{text}" not in template or not weight >= 0:
            raise ValueError(
                f"weight must be at least 0 and template have a place {{text}}, not {weight}, '{template}'"
            )
        self.weight, self.template = weight, template

    def before_experience(self, learner: SupportsLearning, experience: Any) -> None:
        scorer = getattr(learner.model, "scorer", None)
        if scorer is None or not scorer.single:
            raise UserError("negated_texts needs a ComposedRetriever with one vector for each item")

    def loss(self, learner: SupportsLearning, batch: Any, outputs: Any) -> dict[str, Tensor]:
        model: Any = learner.model
        said = [(i, row) for i, row in enumerate(batch.text_rows[: len(batch)]) if row >= 0]
        if not said:
            return {}
        texts = [batch.texts.said[row] for _, row in said]
        negated = [filled(self.template, text=text) for text in texts]
        both = learner.inputs([*texts, *negated])[1]
        device = outputs.candidates.device
        rows = normalize(model.text_features(both.value.to(device)).pooled[both.rows], dim=-1)
        answers = normalize(outputs.candidates[[i for i, _ in said]], dim=-1)
        plain, wrong = ((answers * half).sum(1) for half in rows.chunk(2))
        return {"negation": self.weight * softplus(outputs.scale * (wrong - plain)).mean()}
