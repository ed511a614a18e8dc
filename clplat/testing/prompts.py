"""What every prompt learner must do."""

from __future__ import annotations

import torch

from clplat.errors import UserError
from clplat.models.backbone import Backbone
from clplat.parts.prompts._base import Prompt, TowerPrompt
from clplat.testing.checks import difference, generator_untouched, trainable, weights
from clplat.testing.part import PlainPartContract
from clplat.testing.towers import AttachedContract, attached, distance, embeddings, features, train_a_little

__all__ = ["PromptContract"]


class PromptContract(AttachedContract[Prompt], PlainPartContract[Prompt]):
    """Contract tests of a prompt learner: subclass, override `make`, and pytest runs them all.

    Example:
        >>> from clplat.parts.prompts.context import ContextPrompt
        >>> class TestTwoWords(PromptContract):
        ...     def make(self) -> Prompt:
        ...         return ContextPrompt(length=2)
    """

    # -- the contract -------------------------------------------------------------------------------------

    def test_attaching_names_what_is_trained_and_leaves_the_base(self) -> None:
        backbone = self.backbone()
        before = weights(backbone)
        names = attached(self.make(), backbone)
        assert names and len(set(names)) == len(names)
        assert sorted(names) == sorted(trainable(backbone)), "attach returns other names than it trains"
        base = {name: tensor for name, tensor in weights(backbone).items() if name in before}
        assert not difference(base, before), f"attaching changed the base: {difference(base, before)}"
        found = difference(weights(self._attached()), weights(backbone))
        assert not found, f"the same seed gives another start: {found}"

    def test_it_changes_the_towers_that_it_prompts_and_no_other(self) -> None:
        before, backbone, part = embeddings(self.backbone()), self._attached(), self.make()
        prompts, after = _prompts(backbone), embeddings(backbone)
        assert prompts, "neither backbone.text_prompt nor backbone.image_prompt is set"
        for tower in before:
            moved = float((after[tower] - before[tower]).abs().max())
            wanted = tower in prompts and not part.identity_at_init
            assert (moved > 1e-6) == wanted, f"features of the {tower} tower moved by {moved:.1e}"

    def test_its_vectors_fit_the_tower(self) -> None:
        backbone, (image, text) = self._attached(), features(self.backbone(), rows=3)
        for tower, prompt in _prompts(backbone).items():
            shown = tower == "image"
            width = backbone.image_width if shown else backbone.text_width
            chosen = prompt.begin((image if shown else text) if prompt.wants else None)
            first, prefix = chosen(prompt.lowest), chosen.prefix(prompt.lowest)
            there = first is not None or (prefix and not prompt.length) or _words(prompt)
            assert there, f"{tower}: nothing for layer {prompt.lowest}"
            for layer in range((backbone.image_layers if shown else backbone.text_layers) or 1):
                given = chosen(layer)
                sizes = [] if given is None else [(given, prompt.length)]
                keys, values = chosen.prefix(layer) or (None, None)
                if keys is not None and values is not None:
                    assert keys.shape == values.shape, f"{tower} layer {layer}: keys and values differ"
                    sizes += [(keys, keys.shape[-2])]
                for vectors, places in sizes:
                    allowed = ((places, width), (3, places, width))
                    assert tuple(vectors.shape) in allowed, f"{tower} layer {layer}: {tuple(vectors.shape)}"

    def test_training_reaches_every_named_tensor_and_no_other(self) -> None:
        backbone = self._attached()
        names, before, untrained = set(trainable(backbone)), weights(backbone), embeddings(backbone)
        missed = names - train_a_little(backbone)
        assert not missed, f"no gradient reaches {', '.join(sorted(missed)[:3])}"
        after = weights(backbone)
        wrong = {name for name in before if not torch.equal(before[name], after[name])} ^ names
        assert not wrong, f"wrong tensors changed: {', '.join(sorted(wrong)[:3])}"
        assert distance(embeddings(backbone), untrained) > 1e-6, "training has no effect on the features"

    def test_rows_do_not_depend_on_each_other(self) -> None:
        backbone = self._attached()
        whole, alone = embeddings(backbone), embeddings(backbone, rows=1)
        moved = distance(alone, {tower: rows[:1] for tower, rows in whole.items()})
        assert moved <= 1e-5, f"a row depends on the others of its batch: {moved:.1e}"

    def test_evaluation_draws_nothing(self) -> None:
        backbone = self._attached()
        with generator_untouched("a forward pass in evaluation mode draws numbers"):
            assert not difference(embeddings(backbone), embeddings(backbone)), (
                "the same input, other features"
            )

    def test_a_second_one_is_refused(self) -> None:
        backbone = self._attached()
        before = embeddings(backbone)
        try:
            attached(self.make(), backbone)
        except UserError:
            assert not difference(embeddings(backbone), before), "the refused one left something behind"
        else:
            raise AssertionError("a second prompt in one tower must be refused by a UserError")


def _prompts(backbone: Backbone) -> dict[str, TowerPrompt]:
    """The prompts that are installed, by tower."""
    found = {"image": backbone.image_prompt, "text": backbone.text_prompt}
    return {tower: prompt for tower, prompt in found.items() if prompt is not None}


def _words(prompt: TowerPrompt) -> bool:
    """Whether a prompt puts vectors in the places of words, or of the EOT, and none beside them."""
    return any(getattr(type(prompt), name) is not getattr(TowerPrompt, name) for name in ("tails", "embed"))
