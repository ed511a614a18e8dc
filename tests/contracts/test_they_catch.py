"""A contract that lets a broken part pass is worth nothing: each of these must be caught where it says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import normalize

from clplat.data.records import Candidate, Example, Item, Picture
from clplat.errors import UserError
from clplat.evaluation.probes import ClassificationProbe, RetrievalProbe
from clplat.models.frozen import weights_fixed
from clplat.parts.adapters.full import Full
from clplat.parts.composers._base import Composer
from clplat.parts.composers.sum import Sum
from clplat.parts.heads._base import Head, View
from clplat.parts.losses._base import Loss
from clplat.parts.losses.info_nce import InfoNCE
from clplat.parts.postprocessors._base import Banks, PostProcessor, Scored, Shortlist
from clplat.parts.postprocessors.crops import Crops
from clplat.parts.postprocessors.inverted_softmax import InvertedSoftmax
from clplat.parts.probes._base import ModelView, Probe
from clplat.parts.projections.identity import Identity
from clplat.parts.projections.procrustes import Procrustes
from clplat.parts.prompts.context import ContextPrompt
from clplat.parts.samplers.by_domain import ByDomain
from clplat.parts.samplers.neighbours import Neighbours
from clplat.parts.scorers.dot import Dot
from clplat.parts.teachers.momentum import Momentum
from clplat.parts.teachers.previous import Previous
from clplat.parts.transforms._base import Transform
from clplat.testing import (
    AdapterContract,
    ComposerContract,
    HeadContract,
    LossContract,
    PostProcessorContract,
    ProbesContract,
    ProjectionContract,
    PromptContract,
    ReferenceContract,
    SamplerContract,
    ScorerContract,
    StrategyContract,
    TeacherContract,
    TransformContract,
)
from clplat.testing.references import TinyReference
from clplat.training.strategy import Strategy
from strategies import EWC, Replay


class Forgetful(EWC):
    """Keeps its running estimate to itself."""

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "running": {}}


class Polluted(EWC):
    """Takes every gradient for the task's."""

    reads_gradient = False


class ForgetfulMemory(Replay):
    """Stores exemplars and forgets them."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores nothing."""


class Drawing(Strategy):
    """Draws from the global generator."""

    def after_step(self, learner: Any, batch: Any, outputs: Any) -> None:
        torch.rand(1)
        parameter = next(p for p in learner.model.parameters() if p.requires_grad)
        parameter.data.add_(1e-3 * torch.rand(1))


class Seeding(Strategy):
    """Seeds the global generator."""

    def after_experience(self, learner: Any, experience: Any) -> None:
        torch.manual_seed(0)


class Thawing(Strategy):
    """Moves what is frozen."""

    def after_experience(self, learner: Any, experience: Any) -> None:
        for parameter in learner.model.parameters():
            parameter.data.mul_(1.01)


class Swallowing(Strategy):
    """Takes anything."""

    def __init__(self, **settings: Any) -> None:
        self.settings = settings


class Converting(Strategy):
    """Changes what it is given.

    Args:
        weight: doubled.
    """

    def __init__(self, weight: float = 1.0) -> None:
        self.weight = 2 * weight


class Refusing(Strategy):
    """Refuses by an error of its own.

    Args:
        weight: at least 0.
    """

    def __init__(self, weight: float = 1.0) -> None:
        if weight < 0:
            raise UserError(f"weight must be at least 0, not {weight}")
        self.weight = weight


class Exploding(Strategy):
    """Divides by zero."""

    def loss(self, learner: Any, batch: Any, outputs: Any) -> dict[str, Tensor]:
        return {"bad": torch.tensor(1.0) / 0}


class Uncounted(Replay):
    """Does not count its exemplars."""

    def memory_bytes(self) -> int:
        return 0


class Renaming(Strategy):
    """Has hooks of its own."""

    def after_step(self, trainer: Any) -> None:  # type: ignore[override]
        """Does nothing."""


class Lying(Full):
    """Names one tensor less than it trains."""

    def attach(self, backbone: Any, name: str = "default") -> list[str]:
        return super().attach(backbone, name)[1:]


class Shifting(Full):
    """Moves the base when attached."""

    def attach(self, backbone: Any, name: str = "default") -> list[str]:
        backbone.model.visual.proj.data.mul_(-1.0)
        return super().attach(backbone, name)


class Modest(Full):
    """Declares that a tensor that matters has no effect."""

    without_effect = (r"visual\.ln_post\.bias",)


#: What a `Reading` layer multiplies by; no module holds it.
HELD: dict[str, nn.Parameter] = {}


class Reading(nn.Module):
    """Reads a weight that is none of its own."""

    def forward(self, x: Tensor) -> Tensor:
        return x * HELD["gain"].to(x.device)


class Hiding(Full):
    """Trains a weight where the model computes with it behind everybody's back."""

    def attach(self, backbone: Any, name: str = "default") -> list[str]:
        visual = backbone.model.visual
        HELD["gain"] = backbone.gain = nn.Parameter(torch.ones(32))
        visual.ln_post = nn.Sequential(visual.ln_post, Reading())
        return ["gain"]


class Comparing(Crops):
    """Takes the mean over all queries from each score."""

    def rerank(self, found: Shortlist) -> Tensor:
        return super().rerank(found) - found.embedded.mean()


class Short(Crops):
    """Forgets the last candidate."""

    def rerank(self, found: Shortlist) -> Tensor:
        return super().rerank(found)[:, :-1]


class Shaking(Crops):
    """Breaks ties by chance."""

    def rerank(self, found: Shortlist) -> Tensor:
        return super().rerank(found) + torch.rand(found.rows.shape)


class Overwriting(Crops):
    """Works in place."""

    def rerank(self, found: Shortlist) -> Tensor:
        return found.scores.add_(super().rerank(found))


class Unbilled(Crops):
    """Embeds behind the back of whoever counts."""

    def rerank(self, found: Shortlist) -> Tensor:
        found.embed([picture for picture in (item.picture for item in found.items) if picture is not None])
        return super().rerank(found)


class Averaging(Sum):
    """Looks at the whole batch."""

    def forward(self, image: Any, text: Any) -> Tensor:
        return super().forward(image, text) + image.pooled.mean(0)


class Blind(Sum):
    """Says that it reads the text, and does not."""

    def forward(self, image: Any, text: Any) -> Tensor:
        return normalize(image.pooled, dim=-1)


class Sneaking(Sum):
    """Reads tokens where there are some, and does not say so."""

    def forward(self, image: Any, text: Any) -> Tensor:
        query = super().forward(image, text)
        return query if image.tokens is None else query + image.tokens.mean()


class Crowded(Sum):
    """Centres the gallery on the batch."""

    def target(self, image: Any) -> Tensor:
        return image.pooled - image.pooled.mean(0)


class Loud(Sum):
    """Has an objective of its own for every row."""

    def terms(self, batch: Any, outputs: Any) -> dict[str, Tensor]:
        return {"loud": outputs.query.sum(dim=1)}


class Greedy(Sum):
    """Has a sentence that fills the context."""

    places = 12


class OneWidth(Composer):
    """Takes all widths for that of the joint space."""

    wants: ClassVar[dict[str, frozenset[str]]] = dict.fromkeys(("image", "text"), frozenset({"tokens"}))

    def build(self, embed_dim: int) -> None:
        self.map = nn.Linear(embed_dim, embed_dim)

    def forward(self, image: Any, text: Any) -> Tensor:
        return self.map(image.tokens).mean(1) + self.map(text.tokens).mean(1)


class Dead(Sum):
    """Builds a layer that nothing uses."""

    def build(self, embed_dim: int) -> None:
        self.spare = nn.Linear(2, 2)


class Long(Procrustes):
    """Returns rows of any length."""

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.matrix


class EqualWidths(Procrustes):
    """Knows one width only."""

    def forward(self, x: Tensor) -> Tensor:
        return normalize(x @ self.matrix[:, : x.shape[1]], dim=1)


class Insatiable(Procrustes):
    """Reads what nobody keeps."""

    reads = frozenset({"pictures", "captions"})


class Ordered(Loss):
    """Counts the first query twice."""

    def forward(self, outputs: Any, batch: Any, progress: Any) -> Tensor:
        losses = 1 - outputs.scores().diagonal()
        return losses.sum() + losses[0]


class Backward(Loss):
    """Rewards wrong answers."""

    def forward(self, outputs: Any, batch: Any, progress: Any) -> Tensor:
        return outputs.scores().diagonal().mean()


class Square(Loss):
    """Takes every candidate for a target."""

    def forward(self, outputs: Any, batch: Any, progress: Any) -> Tensor:
        return nn.functional.cross_entropy(outputs.scores().T, torch.arange(len(outputs)))


class Spare(InfoNCE):
    """Has a weight that nothing uses."""

    def attach(self, towers: Any) -> None:
        self.spare = nn.Parameter(torch.ones(2))


class Secret(InfoNCE):
    """Keeps a running number that no checkpoint has."""

    def forward(self, outputs: Any, batch: Any, progress: Any) -> Tensor:
        self.steps = getattr(self, "steps", 0) + 1
        return super().forward(outputs, batch, progress) / self.steps


class Alone(ByDomain):
    """Leaves the last example alone."""

    def batches(self, examples: Any, size: int, draw: Any, embed: Any) -> list[list[int]]:
        order = torch.randperm(len(examples), generator=draw).tolist()
        return [order[i : i + size] for i in range(0, len(order), size)]


class Omitting(ByDomain):
    """Says that every example is there, and leaves out a batch."""

    def batches(self, examples: Any, size: int, draw: Any, embed: Any) -> list[list[int]]:
        found = super().batches(examples, size, draw, embed)
        return found[1:] or found


class Fixed(ByDomain):
    """Has the same batches in every pass."""

    def batches(self, examples: Any, size: int, draw: Any, embed: Any) -> list[list[int]]:
        return super().batches(examples, size, torch.Generator().manual_seed(0), embed)


class Glancing(Neighbours):
    """Looks at the model and does not say so, so that its batches are in no checkpoint."""

    looks = False


class Repeating(TinyReference):
    """Has a picture twice."""

    def pictures(self) -> Any:
        return [*super().pictures(), super().pictures()[0]]


class Unseeded(TinyReference):
    """Draws from the global generator."""

    def sample(self, progress: Any, pictures: int, texts: int) -> Any:
        rows = torch.randperm(len(self.pictures()))[:pictures].tolist()
        return [self.pictures()[i] for i in rows], [*self.texts()[:texts]]


class Free(TinyReference):
    """Does not count its bytes."""

    def bytes(self, image_size: int) -> int:
        return 0


class Boasting(Full):
    """Says that it leaves a bare base behind."""

    trains_base = False

    def activate(self, backbone: Any, name: str | None) -> None:
        """Does nothing."""


class Learning(Identity):
    """Says that it needs a fit."""

    fitted = True


class Nameless(ContextPrompt):
    """Trains what it does not name."""

    def attach(self, backbone: Any) -> list[str]:
        super().attach(backbone)
        return []


class Warping(ContextPrompt):
    """Changes the base."""

    def attach(self, backbone: Any) -> list[str]:
        backbone.model.ln_final.weight.data.mul_(1.1)
        return super().attach(backbone)


class Spilling(ContextPrompt):
    """Moves the tower beside the one that it prompts."""

    def attach(self, backbone: Any) -> list[str]:
        backbone.model.visual.proj.data.mul_(-1.0)
        return super().attach(backbone)


class Sliding(ContextPrompt):
    """Takes the place of the prompt that is there."""

    def attach(self, backbone: Any) -> list[str]:
        backbone.text_prompt = None
        return super().attach(backbone)


class Handing(ContextPrompt):
    """Installs vectors of another behaviour than its own."""

    vectors: Any

    def attach(self, backbone: Any) -> list[str]:
        names, own = super().attach(backbone), type(self).vectors
        backbone.text_prompt.forward = lambda layer: own(backbone.text_prompt, layer)
        return names


class Ragged(Handing):
    """Gives the second layer more vectors than the first."""

    def vectors(self: Any, layer: int) -> Tensor:
        return self.vectors if layer == 0 else torch.cat([self.vectors, self.vectors])


class Idle(Handing):
    """Trains nothing that it shows."""

    def vectors(self: Any, layer: int) -> Tensor | None:
        return self.vectors.detach() if layer == 0 else None


class Noisy(Handing):
    """Draws at evaluation."""

    def vectors(self: Any, layer: int) -> Tensor | None:
        return self.vectors + torch.randn(self.vectors.shape) if layer == 0 else None


class Fading(Handing):
    """Keeps a count of its own, which no checkpoint has."""

    def vectors(self: Any, layer: int) -> Tensor | None:
        self.calls = getattr(self, "calls", 0) + (layer == 0)
        return self.vectors / self.calls if layer == 0 else None


class Lopsided(Handing):
    """Has more keys than values."""

    def attach(self, backbone: Any) -> list[str]:
        names = super().attach(backbone)
        prompt = backbone.text_prompt
        prompt.prefix = lambda layer: (prompt.vectors, prompt.vectors[:1])
        return names

    def vectors(self: Any, layer: int) -> Tensor | None:
        return self.vectors if layer == 0 else None


def shown(*keys: str, captions: tuple[str, ...] = ("a red square", "a blue square")) -> Probe:
    pictures = tuple(Picture(key, lambda: Image.new("RGB", (8, 8))) for key in keys)
    return RetrievalProbe("shown", pictures, captions)


class Twice:
    """Shows one picture twice."""

    def build(self) -> list[Probe]:
        return [shown("a", "a")]


class Mute:
    """Has a picture of which nothing is said."""

    def build(self) -> list[Probe]:
        return [shown("a", "b", captions=("a red square", " "))]


class Labelled:
    """Has a class that no picture shows."""

    def build(self) -> list[Probe]:
        return [ClassificationProbe("labelled", shown("a", "b").pictures, ("a cat", "a dog"), (0, 0))]


class Varying:
    """Is another one at every call."""

    calls = 0

    def build(self) -> list[Probe]:
        self.calls += 1
        return [shown("a", f"b{self.calls}")]


class Flickering:
    """Draws another picture at every call."""

    def build(self) -> list[Probe]:
        drawn = iter(range(99))
        picture = Picture("a", lambda: Image.new("RGB", (8, 8), (next(drawn), 0, 0)))
        return [RetrievalProbe("flickering", (picture,), ("a square",))]


class Sharing:
    """Gives two pictures one key."""

    def build(self) -> list[Probe]:
        two = [Picture("a", lambda: Image.new("RGB", (8, 8)), caption=text) for text in ("red", "blue")]
        return [RetrievalProbe(picture.caption, (picture,), ("a square",)) for picture in two]


class Unheaded(Probe):
    """Has a headline that it does not measure."""

    name, headline = "unheaded", "accuracy"

    def measure(self, view: ModelView) -> dict[str, float]:
        return {"R@1": 1.0}


class Growing(Probe):
    """Measures more of a later version."""

    name = "growing"

    def measure(self, view: ModelView) -> dict[str, float]:
        return {f"after {version}": 1.0 for version in range(view.version + 1)}


class Guessing(Probe):
    """Draws from torch's own generator."""

    name = "guessing"

    def measure(self, view: ModelView) -> dict[str, float]:
        return {"accuracy": float(torch.rand(()))}


class Tuning(Probe):
    """Moves the model that it measures."""

    name = "tuning"

    def measure(self, view: ModelView) -> dict[str, float]:
        with torch.no_grad():
            view.encoder.backbone.logit_scale.add_(0.1)
        return {"scale": 1.0}


class Peeking(Head):
    """Looks at the whole batch."""

    def forward(self, x: Tensor, side: Any) -> Tensor:
        return normalize(x - 0.3 * x.mean(0), dim=-1)


class Narrow(Head):
    """Says another width than it has."""

    def attach(self, towers: Any) -> int:
        return super().attach(towers) - 1


class Turning(Head):
    """Turns every embedding round, and says that it is the identity."""

    def forward(self, x: Tensor, side: Any) -> Tensor:
        return normalize(x.flip(1), dim=-1)


class Lossy(View):
    """Loads something else than was stored."""

    def load(self, stored: Tensor) -> Tensor:
        return stored.flip(1)


class Cheap(View):
    """Claims a byte an item."""

    def bytes_per_item(self, stored: Tensor) -> float:
        return 1.0


class Coarse(View):
    """Keeps one bit, and lets the order of the gallery decide."""

    def map(self, rows: Tensor, side: Any) -> Tensor:
        return torch.where(rows[:, :1] > 0, 1.0, -1.0) + 0 * rows


class Centred(View):
    """Stores what depends on the rest of the gallery."""

    def store(self, rows: Tensor) -> Tensor:
        return rows + 0.01 * torch.arange(len(rows))[:, None] / len(rows)


class Idling(View):
    """Is never trained."""

    def __init__(self) -> None:
        super().__init__(weight=0.0)


def showing(view: type[View]) -> type[Head]:
    class Showing(Head):
        """Has one view."""

        def views(self) -> dict[str, View]:
            return {"one": view()}

    return Showing


class Unequal(Dot):
    """Its block is another score than its pairs."""

    def block(self, queries: Tensor, items: Tensor) -> Tensor:
        return 1.01 * super().block(queries, items)


class Company(Dot):
    """A pair's score depends on the pairs beside it."""

    slack = 1.0

    def pairs(self, queries: Tensor, items: Tensor) -> Tensor:
        found = super().pairs(queries, items)
        return found + 1e-6 * found.mean()


class Squared(Dot):
    """Says that it is an inner product."""

    def block(self, queries: Tensor, items: Tensor) -> Tensor:
        return super().block(queries, items) ** 3

    def pairs(self, queries: Tensor, items: Tensor) -> Tensor:
        return super().pairs(queries, items) ** 3


class Wide(Dot):
    """Texts are twice as wide as pictures."""

    def text(self, text: Any) -> Tensor:
        return torch.cat([text.pooled, text.pooled], 1)


class Rolling(Transform):
    """Draws from torch's own generator."""

    def __call__(self, example: Example, draw: torch.Generator) -> Example:
        return replace(example, label=example.label + str(int(torch.randint(9, ()))))


class Losing(Transform):
    """Forgets the weight of an example."""

    def __call__(self, example: Example, draw: torch.Generator) -> Example:
        return replace(example, weight=example.weight + 1)


class Emptying(Transform):
    """Leaves no word of the text."""

    def __call__(self, example: Example, draw: torch.Generator) -> Example:
        return replace(example, query=Item.of(example.reference, " "))


class Denying(Transform):
    """Makes the target its own negative."""

    def __call__(self, example: Example, draw: torch.Generator) -> Example:
        return replace(example, negatives=(Candidate(example.target, "something else"),))


class Local(Transform):
    """Holds what cannot be sent to another process."""

    def __init__(self) -> None:
        self.change = lambda example: example

    def __call__(self, example: Example, draw: torch.Generator) -> Example:
        return example


class Echoing(Previous):
    """Says what the student says."""

    def outputs(self, learner: Any, batch: Any) -> Any:
        with torch.no_grad():
            return learner.predict(batch)


class Kept(Momentum):
    """Follows the student and denies it."""

    moves = False


class Settled(Momentum):
    """Promises that a teacher that moves stays as it is."""

    def outputs(self, learner: Any, batch: Any) -> Any:
        with weights_fixed():
            return super().outputs(learner, batch)


class Absent(Previous):
    """Leaves its tensors out of its state."""

    def state_dict(self) -> dict[str, Any]:
        return {"tensors": {}, "steps": 0}


class Summing(Full):
    """Says that it adds to the base what the base is."""

    def deltas(self, backbone: Any) -> dict[str, Tensor]:
        return {key: tensor.detach() for key, tensor in backbone.base_state().items()}


class Uncounting(EWC):
    """Keeps importances and counts none."""

    def state_bytes(self) -> int:
        return 0


class Undefined(EWC):
    """Has a number that is none."""

    def numbers(self) -> dict[str, float]:
        return {"importance": float("nan")}


class Transductive(InvertedSoftmax):
    """Takes the evaluation's queries for its bank."""

    def map(self, queries: Scored, gallery: Scored) -> tuple[Tensor, Tensor]:
        self.fit(Banks(queries.rows, queries.rows[:0]))
        return super().map(queries, gallery)


class Hoarding(InvertedSoftmax):
    """Keeps the banks of all fits."""

    def fit(self, banks: Banks) -> None:
        held = self._banks
        super().fit(
            banks if held is None else Banks(torch.cat([held.queries, banks.queries]), banks.pictures)
        )


class Resting(PostProcessor):
    """Does nothing."""


CASES: list[tuple[type, Any, str]] = [
    (TeacherContract, Echoing, "test_it_does_not_move_with_the_student"),
    (TeacherContract, Kept, "test_it_does_not_move_with_the_student"),
    (TeacherContract, Settled, "test_nothing_of_it_is_kept_while_it_moves"),
    (TeacherContract, Absent, "test_its_state_survives_the_disk"),
    (AdapterContract, Summing, "test_weights_are_moved_as_weights"),
    (StrategyContract, Uncounting, "test_the_memory_is_counted"),
    (StrategyContract, Undefined, "test_its_numbers_are_flat_and_finite"),
    (HeadContract, Peeking, "test_rows_do_not_depend_on_each_other"),
    (HeadContract, Narrow, "test_its_rows_are_finite_and_as_wide_as_it_says"),
    (HeadContract, Turning, "test_it_is_the_identity_at_first_or_says_that_it_is_not"),
    (HeadContract, showing(Lossy), "test_what_is_stored_compares_as_what_is_trained"),
    (HeadContract, showing(Cheap), "test_it_counts_the_bytes_that_it_stores"),
    (HeadContract, showing(Coarse), "test_codes_that_collide_count_ties_against"),
    (HeadContract, showing(Centred), "test_each_item_is_stored_by_itself"),
    (HeadContract, showing(Idling), "test_gradients_reach_its_weights_and_its_input_through_every_view"),
    (ScorerContract, Unequal, "test_blocks_are_as_near_to_pairs_as_it_says"),
    (ScorerContract, Company, "test_a_pair_scores_the_same_bits_in_any_company"),
    (ScorerContract, Squared, "test_only_inner_products_are_approximable"),
    (ScorerContract, Wide, "test_queries_pictures_and_texts_are_flat_finite_rows_of_one_width"),
    (StrategyContract, Forgetful, "test_it_resumes_in_the_middle_of_an_experience"),
    (StrategyContract, Polluted, "test_what_it_measures_is_free_of_other_strategies_terms"),
    (StrategyContract, ForgetfulMemory, "test_its_state_survives_the_disk"),
    (StrategyContract, Drawing, "test_it_runs_in_a_plain_torch_loop"),
    (StrategyContract, Seeding, "test_it_leaves_the_global_generator_alone"),
    (StrategyContract, Thawing, "test_frozen_weights_stay"),
    (StrategyContract, Swallowing, "test_the_constructor_stores_its_typed_arguments"),
    (StrategyContract, Converting, "test_the_constructor_stores_its_typed_arguments"),
    (StrategyContract, Refusing, "test_a_wrong_value_is_refused_by_a_value_error"),
    (StrategyContract, Exploding, "test_its_loss_terms_are_named_finite_scalars"),
    (StrategyContract, Uncounted, "test_the_memory_is_counted"),
    (StrategyContract, Renaming, "test_its_hooks_have_the_contracts_arguments"),
    (AdapterContract, Lying, "test_attaching_names_what_is_trained_and_changes_nothing"),
    (AdapterContract, Shifting, "test_attaching_names_what_is_trained_and_changes_nothing"),
    (AdapterContract, Modest, "test_what_is_declared_without_effect_has_none"),
    (AdapterContract, Hiding, "test_kept_features_are_never_stale"),
    (ComposerContract, Averaging, "test_rows_do_not_depend_on_each_other"),
    (ComposerContract, Blind, "test_it_reads_what_it_says_and_nothing_else"),
    (ComposerContract, Sneaking, "test_it_needs_no_more_than_it_wants"),
    (ComposerContract, Crowded, "test_a_candidate_is_a_finite_row_of_the_joint_space"),
    (ComposerContract, Loud, "test_its_own_objectives_are_named_finite_scalars"),
    (ComposerContract, Greedy, "test_its_template_leaves_room_for_a_text"),
    (ComposerContract, Dead, "test_gradients_reach_every_parameter_and_every_input_that_it_reads"),
    (ProjectionContract, Long, "test_rows_have_unit_length_whatever_theirs_was"),
    (AdapterContract, Boasting, "test_none_is_the_bare_base"),
    (ProjectionContract, EqualWidths, "test_it_maps_between_spaces_of_unequal_widths"),
    (ProjectionContract, Insatiable, "test_it_says_what_it_reads_and_stores"),
    (ProjectionContract, Learning, "test_an_unfitted_one_says_so"),
    (PromptContract, Nameless, "test_attaching_names_what_is_trained_and_leaves_the_base"),
    (PromptContract, Warping, "test_attaching_names_what_is_trained_and_leaves_the_base"),
    (PromptContract, Spilling, "test_it_changes_the_towers_that_it_prompts_and_no_other"),
    (PromptContract, Sliding, "test_a_second_one_is_refused"),
    (PromptContract, Ragged, "test_its_vectors_fit_the_tower"),
    (PromptContract, Lopsided, "test_its_vectors_fit_the_tower"),
    (PromptContract, Idle, "test_training_reaches_every_named_tensor_and_no_other"),
    (PromptContract, Noisy, "test_evaluation_draws_nothing"),
    (PromptContract, Fading, "test_a_teacher_and_a_checkpoint_bring_it_back"),
    (ProbesContract, Twice, "test_its_probes_are_complete"),
    (ProbesContract, Mute, "test_its_probes_are_complete"),
    (ProbesContract, Labelled, "test_its_probes_are_complete"),
    (ProbesContract, Unheaded, "test_it_measures_the_same_numbers_of_every_version"),
    (ProbesContract, Growing, "test_it_measures_the_same_numbers_of_every_version"),
    (ProbesContract, Guessing, "test_measuring_repeats_and_changes_nothing"),
    (ProbesContract, Tuning, "test_measuring_repeats_and_changes_nothing"),
    (ProbesContract, Varying, "test_building_twice_gives_the_same"),
    (ProbesContract, Flickering, "test_its_pictures_can_be_drawn_again"),
    (ProbesContract, Sharing, "test_equal_keys_are_equal_pictures"),
    (TransformContract, Rolling, "test_a_moment_decides_all_that_is_drawn"),
    (TransformContract, Losing, "test_an_example_keeps_its_name_and_place"),
    (TransformContract, Emptying, "test_what_it_makes_can_be_trained_on"),
    (TransformContract, Denying, "test_a_negative_says_something_else_than_the_target"),
    (TransformContract, Local, "test_it_can_be_sent_to_a_loaders_process"),
    (PostProcessorContract, Transductive, "test_what_is_asked_changes_no_gallery_and_no_other_query"),
    (PostProcessorContract, Hoarding, "test_a_second_fit_forgets_the_first"),
    (PostProcessorContract, Resting, "test_it_does_something"),
    (PostProcessorContract, Comparing, "test_a_query_is_scored_by_itself"),
    (PostProcessorContract, Short, "test_it_scores_every_candidate_of_the_shortlist"),
    (
        PostProcessorContract,
        Shaking,
        "test_it_gives_the_same_scores_again_and_draws_from_no_global_generator",
    ),
    (PostProcessorContract, Overwriting, "test_it_leaves_the_shortlist_alone"),
    (PostProcessorContract, Unbilled, "test_what_it_embeds_is_counted"),
    (LossContract, Square, "test_negatives_are_candidates_like_any_other"),
    (LossContract, Ordered, "test_the_order_of_the_batch_does_not_matter"),
    (LossContract, Backward, "test_right_answers_cost_less_than_random_ones"),
    (SamplerContract, Alone, "test_a_batch_has_different_examples_and_no_more_than_it_takes"),
    (SamplerContract, Omitting, "test_a_pass_has_every_example_once"),
    (SamplerContract, Fixed, "test_the_draw_decides_all"),
    (SamplerContract, Glancing, "test_it_looks_at_the_model_only_if_it_says_so"),
    (SamplerContract, Glancing, "test_a_run_with_it_resumes"),
    (ReferenceContract, Repeating, "test_its_pictures_and_texts_are_different_and_can_be_had_again"),
    (ReferenceContract, Unseeded, "test_a_draw_is_of_what_it_holds_and_depends_on_the_place"),
    (ReferenceContract, Free, "test_it_is_counted_in_bytes"),
    (LossContract, Spare, "test_it_has_finite_gradients"),
    (LossContract, Secret, "test_its_weights_are_trained_and_it_resumes"),
]


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(("contract", "part", "test"), CASES, ids=[f"{case[1].__name__}" for case in CASES])
def test_a_broken_part_is_caught(contract: type, part: Any, test: str, tmp_path: Path) -> None:
    made: Any = type("Made", (contract,), {"make": lambda self: part()})()
    method = getattr(made, test)
    needs_folder = "tmp_path" in method.__code__.co_varnames[: method.__code__.co_argcount]
    with pytest.raises(AssertionError), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # as a part may leave it that seeds the generator with the usual number
        method(tmp_path) if needs_folder else method()


def test_a_composer_of_one_width_for_all_is_caught() -> None:
    """It runs where the joint space, patches and words are equally wide, as they are in no real model."""
    made: Any = type("Made", (ComposerContract,), {"make": lambda self: OneWidth()})()
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        made.test_a_query_is_a_finite_row_of_the_joint_space()
