"""Where a tower is cut follows what happens to the model, without any declaration."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

from clplat.cache.cuts import TowerCuts
from clplat.cache.engine import FeatureCache
from clplat.cache.store import Store
from clplat.data.inputs import Images, Texts
from clplat.mechanisms.teacher import Teacher, snapshot
from clplat.models import hashes
from clplat.models.backbone import Backbone
from clplat.models.features import POOLED
from clplat.models.frozen import weights_are_fixed, weights_fixed
from clplat.parts.adapters.full import Full
from clplat.parts.adapters.peft import METHODS, DoRA, LoRA, adapter_class
from clplat.parts.prompts.context import ContextPrompt
from clplat.randomness import generator, seeded
from clplat.testing import tiny_backbone

KIND = "clip-16-bicubic-pil-uint8-v1"
PIXELS = torch.randint(0, 256, (6, 3, 16, 16), dtype=torch.uint8, generator=generator(0, "pixels"))
WORDS = ["red", "make it blue", "is longer and has white dots on it"]


def attach(adapter: Any, backbone: Backbone, name: str = "default") -> None:
    with seeded(0, "attach", name):
        adapter.attach(backbone, name)


def drift(backbone: Backbone, seed: int = 0) -> None:
    """One step of training."""
    draw = generator(seed, "drift")
    with torch.no_grad():
        for parameter in backbone.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape, generator=draw), alpha=0.05)


def wants_of(tokens: bool) -> frozenset[str]:
    return POOLED | {"tokens"} if tokens else POOLED


class Watch:
    """Asks features and plain backbone the same, and tells which cut was used and what was computed."""

    def __init__(self, backbone: Backbone) -> None:
        self.backbone, self.features = backbone, FeatureCache(backbone, Store(None))

    def __call__(self, tokens: bool = False) -> tuple[str, str]:
        """The cuts of the image and of the text tower, whose features are right."""
        counts = self.features.counts
        before = {tower: dict(held.cuts) for tower, held in counts.items()}
        shown, said = self.ask(tokens)
        plain, ids = self.plain(tokens)
        assert torch.allclose(shown, plain, atol=1e-5), "features of pictures are stale"
        assert torch.allclose(said, ids, atol=1e-5), "features of texts are stale"
        new = {t: [k for k, n in c.cuts.items() if n != before[t].get(k, 0)] for t, c in counts.items()}
        return new["image"][0], new["text"][0]

    def ask(self, tokens: bool = False) -> tuple[Tensor, Tensor]:
        images = Images.of(PIXELS, [f"picture {i}" for i in range(len(PIXELS))], KIND)
        texts = Texts(self.backbone.tokenize(WORDS))
        shown = self.features.image(images, wants_of(tokens))
        return shown.pooled, self.features.text(texts, wants_of(tokens)).pooled

    def plain(self, tokens: bool = False) -> tuple[Tensor, Tensor]:
        ids = self.backbone.tokenize(WORDS)
        shown = self.backbone.image(PIXELS, wants_of(tokens))
        return shown.pooled, self.backbone.text(ids, wants_of(tokens)).pooled

    @property
    def encoded(self) -> int:
        """Rows made since the last look."""
        total = sum(counts.encoded for counts in self.features.counts.values())
        before, self._before = getattr(self, "_before", 0), total
        return total - before


EVERYTHING = len(PIXELS) + len(WORDS)


@pytest.fixture
def watch() -> Watch:
    return Watch(tiny_backbone())


def contents(backbone: Backbone) -> tuple[str, ...]:
    """Digests of what is below the cuts, of a model that is looked at for the first time."""
    with torch.no_grad(), weights_fixed():
        found = [TowerCuts(backbone, tower).cut(POOLED) for tower in ("image", "text")]
    return tuple(tap.content for tap in found if tap is not None)


# -- what the cut follows ----------------------------------------------------------------------------------


def test_the_cut_follows_requires_grad(watch: Watch) -> None:
    model = watch.backbone.model
    assert watch() == ("pooled", "pooled")
    model.visual.proj.requires_grad_(True)
    model.text_projection.requires_grad_(True)
    assert watch() == ("block 1", "block 1"), "the last block computes one row only, without what is kept"
    assert watch(tokens=True) == ("block 2", "block 2")
    model.visual.transformer.resblocks[1].ln_1.weight.requires_grad_(True)
    assert watch(tokens=True) == ("block 1", "block 2")
    model.visual.class_embedding.requires_grad_(True)
    model.token_embedding.weight.requires_grad_(True)
    assert watch() == watch(tokens=True) == ("live", "live")
    model.requires_grad_(False)
    assert watch() == ("pooled", "pooled")
    assert watch(tokens=True) == ("block 2", "block 2")


def test_the_temperature_is_below_no_cut(watch: Watch) -> None:
    watch()
    watch.backbone.logit_scale.requires_grad_(True)
    with torch.no_grad():
        watch.backbone.logit_scale.mul_(2)
    assert watch.encoded == EVERYTHING and watch() == ("pooled", "pooled") and watch.encoded == 0


@pytest.mark.parametrize("adapter", [LoRA(last=1), Full(last=1), DoRA(last=1)])
def test_training_above_the_cut_makes_nothing_again(adapter: Any, watch: Watch) -> None:
    attach(adapter, watch.backbone)
    assert watch() == ("block 1", "block 1") and watch.encoded == EVERYTHING
    for step in range(3):
        drift(watch.backbone, step)
        assert watch() == ("block 1", "block 1") and watch.encoded == 0
    watch.features.refresh()
    assert watch() == ("block 1", "block 1") and watch.encoded == 0


def test_a_frozen_tower_whose_weights_move_is_made_again(watch: Watch) -> None:
    watch()
    _ = watch.encoded
    with torch.no_grad():
        watch.backbone.model.visual.transformer.resblocks[0].ln_1.bias.add_(0.5)
    assert watch() == ("pooled", "pooled") and watch.encoded == len(PIXELS), "the text tower stayed"


def test_written_behind_autograds_back_it_is_seen_after_a_refresh(watch: Watch) -> None:
    watch()
    _ = watch.encoded
    watch.backbone.model.transformer.resblocks[0].mlp.c_fc.weight.data.mul_(1.5)
    watch.features.refresh()
    watch()
    assert watch.encoded == len(WORDS)


def test_growth_moves_the_cut_and_the_bare_base_comes_back(watch: Watch) -> None:
    backbone, adapter = watch.backbone, LoRA(last=1)
    assert watch() == ("pooled", "pooled") and watch.encoded == EVERYTHING
    bare = contents(backbone)

    attach(adapter, backbone, "first")
    assert watch() == ("block 1", "block 1")
    drift(backbone)
    assert watch() == ("block 1", "block 1") and watch.encoded == EVERYTHING
    attach(adapter, backbone, "second")
    drift(backbone, 1)
    assert watch() == ("block 1", "block 1") and watch.encoded == 0, "below it nothing changed"

    adapter.activate(backbone, None)
    assert contents(backbone) == bare, "whatever was grown beside it"
    backbone.requires_grad_(False)
    assert watch() == ("pooled", "pooled") and watch.encoded == 0, "the table from before"
    adapter.activate(backbone, "first")
    assert watch() == ("pooled", "pooled") and watch.encoded == EVERYTHING
    adapter.activate(backbone, "second")
    assert watch() == ("pooled", "pooled") and watch.encoded == EVERYTHING
    adapter.activate(backbone, "first")
    assert watch() == ("pooled", "pooled") and watch.encoded == 0
    assert len({bare, contents(backbone)}) == 2


@pytest.mark.parametrize("method", ["lora", "vera", "oft", "ia3"])
def test_the_digest_of_an_expert_stays_while_others_are_grown_and_trained(method: str) -> None:
    backbone, adapter = tiny_backbone(), adapter_class(method)()
    attach(adapter, backbone, "first")
    drift(backbone)
    first = contents(backbone)
    attach(adapter, backbone, "second")
    drift(backbone, 1)
    assert contents(backbone) != first
    adapter.activate(backbone, "first")
    assert contents(backbone) == first


@pytest.mark.parametrize("method", ["lora", "dora", "oft"])
def test_merging_is_seen(method: str, watch: Watch) -> None:
    """The base weights are written to as ``weight.data``: their place and version stay."""
    backbone, adapter = watch.backbone, adapter_class(method)()
    watch()
    bare = contents(backbone)
    attach(adapter, backbone)
    drift(backbone)
    with torch.no_grad(), weights_fixed():
        watch()
        trained = contents(backbone)
        adapter.merge(backbone)
        watch.features.refresh()
        assert watch.encoded > 0 and watch() == ("pooled", "pooled") and watch.encoded == EVERYTHING
    assert len({bare, trained, contents(backbone)}) == 3


def test_dropout_in_training_blocks_the_cut() -> None:
    backbone = tiny_backbone()
    attach(LoRA(last=1, lora_dropout=0.5), backbone)
    drift(backbone)
    backbone.requires_grad_(False)
    watch = Watch(backbone)
    assert watch() == ("pooled", "pooled")
    backbone.train()
    with seeded(0, "dropout"):
        one, other = watch.ask(), watch.ask()
    assert not torch.equal(one[0], other[0]) and not torch.equal(one[1], other[1]), "two draws"
    for counts in watch.features.counts.values():
        assert counts.cuts == {"pooled": 1, "block 1": 2}, "below the dropout it is as fixed as ever"
    backbone.eval()
    assert watch() == ("pooled", "pooled")


def test_a_prompt_has_no_prefix(watch: Watch) -> None:
    with seeded(0, "prompt"):
        ContextPrompt(2).attach(watch.backbone)
    watch.backbone.requires_grad_(False)
    watch.backbone.model.ln_final.weight.requires_grad_(True)
    assert watch() == ("pooled", "live")


# -- fixed weights, and the teacher --------------------------------------------------------------------------


def test_without_the_promise_a_trained_tower_is_live(watch: Watch) -> None:
    attach(Full(), watch.backbone)
    assert watch() == ("live", "live")
    with torch.no_grad():
        assert not weights_are_fixed() and watch() == ("live", "live")
        with weights_fixed():
            assert weights_are_fixed() and watch() == ("pooled", "pooled")
            with weights_fixed():
                pass
            assert watch() == ("pooled", "pooled")
    with weights_fixed():
        assert watch() == ("live", "live"), "gradients are wanted"
    assert not weights_are_fixed() and watch.features.counts["image"].encoded == len(PIXELS)


@pytest.mark.parametrize("adapter", [Full(), Full(last=1), LoRA(), LoRA(last=1), DoRA()])
def test_a_teacher_is_served_from_rows_of_its_own(adapter: Any, watch: Watch) -> None:
    backbone = watch.backbone
    attach(adapter, backbone)
    drift(backbone)
    teacher = Teacher(snapshot(backbone))
    before = [t.detach().clone() for t in watch.plain()]
    drift(backbone, 1)
    for step in range(3):
        with teacher.active(backbone):
            assert watch() == ("pooled", "pooled")
            assert watch.encoded == (EVERYTHING if step == 0 else 0), "the same in every epoch"
            assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(watch.ask(), before, strict=True))
        student = watch()
        assert "pooled" not in student
        _ = watch.encoded
        drift(backbone, step + 2)
        assert watch() == student
        with torch.no_grad(), weights_fixed():
            assert watch() == ("pooled", "pooled") and watch.encoded == EVERYTHING, "the student has moved"


def test_two_teachers_are_told_apart(watch: Watch) -> None:
    attach(LoRA(), watch.backbone)
    teachers = []
    for step in range(2):
        drift(watch.backbone, step)
        teachers.append(Teacher(snapshot(watch.backbone)))
    drift(watch.backbone, 2)
    for encoded in (EVERYTHING, 0):
        for teacher in teachers:
            with teacher.active(watch.backbone):
                assert watch() == ("pooled", "pooled") and watch.encoded == encoded


def test_a_teacher_of_before_growth_is_right(watch: Watch) -> None:
    """As distillation in a stream that grows: the teacher's tensors are those of the first adapter."""
    adapter = LoRA(last=1)
    attach(adapter, watch.backbone, "first")
    drift(watch.backbone)
    teacher = Teacher(snapshot(watch.backbone))
    attach(adapter, watch.backbone, "second")
    drift(watch.backbone, 1)
    for _ in range(2):
        with teacher.active(watch.backbone):
            assert watch() == ("pooled", "pooled")
        drift(watch.backbone, 2)


def test_a_teacher_is_hashed_once(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    attach(Full(), watch.backbone)
    teacher = Teacher(snapshot(watch.backbone))
    calls: list[Tensor] = []
    slow = hashes.tensor_digest

    def counted(tensor: Tensor) -> str:
        calls.append(tensor)
        return slow(tensor)

    monkeypatch.setattr(hashes, "tensor_digest", counted)
    for step in range(3):
        with teacher.active(watch.backbone):
            watch()
        drift(watch.backbone, step)
        if step == 0:
            calls.clear()
    assert not calls, f"{len(calls)} tensors of an unchanged teacher were hashed again"


# -- every kind of adapter -----------------------------------------------------------------------------------

SOME = ["full", "lora", "dora", "pissa", "vera", "lokr", "oft", "boft", "ia3", "ln_tuning", "vblora"]
MIXING = ["lily"]  # what it makes of an item depends on the batch, see below
KINDS = [
    pytest.param(method, marks=[] if method in SOME else pytest.mark.slow)
    for method in ["full", *METHODS]
    if method not in MIXING
]


@pytest.mark.parametrize("method", KINDS)
def test_every_trained_tensor_counts(method: str) -> None:
    backbone = tiny_backbone()
    adapter = Full(embeddings=True) if method == "full" else adapter_class(method)()
    attach(adapter, backbone)
    drift(backbone)
    watch = Watch(backbone)
    trained = [(name, p) for name, p in backbone.named_parameters() if p.requires_grad]
    chosen = trained[:: max(1, len(trained) // 10)]
    seen: set[tuple[str, ...]] = set()
    with torch.no_grad(), weights_fixed():
        assert watch() == ("pooled", "pooled")
        seen.add(contents(backbone))
        for name, parameter in chosen:
            if method == "vblora" and "logits" in name:
                parameter.add_(0.5 * torch.randn(parameter.shape, generator=generator(0, name)))
            else:
                parameter.view(-1)[0].add_(0.25)
            now = contents(backbone)
            assert now not in seen, f"nobody saw that {name} changed"
            seen.add(now)
            watch()
        assert contents(copy.deepcopy(backbone)) == now, "content, not where it lies"
        _ = watch.encoded
        watch()
        assert watch.encoded == 0, "nothing changed"


@pytest.mark.parametrize(
    "method", [pytest.param(m, marks=pytest.mark.slow) for m in METHODS if m not in MIXING]
)
def test_what_is_made_of_a_picture_does_not_depend_on_its_company(method: str) -> None:
    """A method of which this is not true must be known to `clplat.cache.content.is_stochastic_now`."""
    backbone = tiny_backbone()
    attach(adapter_class(method)(), backbone)
    drift(backbone)
    with torch.no_grad():
        alone, together = backbone.image(PIXELS[:1]).pooled, backbone.image(PIXELS).pooled
    assert torch.allclose(alone, together[:1], atol=1e-5)


@pytest.mark.parametrize("method", MIXING)
def test_an_adapter_that_mixes_the_items_of_a_batch_is_live(method: str, watch: Watch) -> None:
    backbone, adapter = watch.backbone, adapter_class(method)()
    assert watch() == ("pooled", "pooled")
    _ = watch.encoded
    attach(adapter, backbone)
    drift(backbone)
    backbone.requires_grad_(False)
    with torch.no_grad():
        one, other = backbone.image(PIXELS[:2]).pooled, backbone.image(PIXELS).pooled[:2]
    assert not torch.allclose(one, other, atol=1e-4), "it does not mix any more: let it be kept"
    with torch.no_grad(), weights_fixed():
        shown, said = watch.ask()
        texts = Texts(backbone.tokenize(WORDS))
        assert torch.allclose(shown, backbone.image(PIXELS).pooled, atol=1e-5)
        # Padding mixes in as well: the texts are cut where `Texts` says that they end.
        plain = backbone.text(texts.ids, length=max(texts.lengths)).pooled
        assert torch.allclose(said, plain, atol=1e-5) and watch.encoded == 0
        assert all(counts.cuts == {"pooled": 1, "live": 1} for counts in watch.features.counts.values())
        adapter.activate(backbone, None)
        assert watch() == ("pooled", "pooled") and watch.encoded == 0, "the bare base, as before"
