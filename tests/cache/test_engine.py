"""Whatever is asked in whatever order and company, kept features are those of the plain backbone."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from clplat.cache import engine
from clplat.cache import rows as kept_rows
from clplat.cache.engine import FeatureCache
from clplat.cache.store import Store
from clplat.cache.table import Table
from clplat.data.inputs import Images, Texts
from clplat.flops import FlopCount
from clplat.models.backbone import Backbone
from clplat.models.features import POOLED, ImageFeatures, TextFeatures
from clplat.models.frozen import weights_fixed
from clplat.parts.adapters.full import Full
from clplat.parts.adapters.peft import LoRA
from clplat.parts.composers._base import Composer
from clplat.parts.composers.combiner import Combiner
from clplat.parts.prompts.coda import CodaPrompt
from clplat.parts.prompts.context import ContextPrompt
from clplat.parts.prompts.deep import DeepPrompt
from clplat.randomness import generator, seeded
from clplat.testing import tiny_backbone, tiny_collate, tiny_domains, tiny_loss, tiny_retriever

KIND = "clip-16-bicubic-pil-uint8-v1"
WORDS = ["red", "a dog", "make it blue", "is longer and has white dots on it", "in the same colour but", ""]
PIXELS = torch.randint(0, 256, (100, 3, 16, 16), dtype=torch.uint8, generator=generator(0, "pixels"))


def pictures(rows: Sequence[int], kind: str = KIND) -> Images:
    return Images.of(PIXELS[list(rows)], [f"picture {row}" for row in rows], kind)


def wants_of(tokens: bool) -> frozenset[str]:
    return POOLED | {"tokens"} if tokens else POOLED


def texts(backbone: Backbone, rows: Sequence[int]) -> Texts:
    return Texts(backbone.tokenize([WORDS[row] for row in rows]))


def drift(backbone: Backbone) -> Backbone:
    """As if it had been trained for a while."""
    draw = generator(0, "drift")
    with torch.no_grad():
        for parameter in backbone.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape, generator=draw), alpha=0.05)
    return backbone


def nothing(backbone: Backbone) -> None:
    pass


#: What is trained, and the cut through both towers without and with tokens.
SYSTEMS: dict[str, tuple[Callable[[Backbone], Any], str, str]] = {
    "frozen": (nothing, "pooled", "block 2"),
    "full, last block": (lambda b: Full(last=1).attach(b), "block 1", "block 1"),
    "LoRA, last block": (lambda b: LoRA(last=1).attach(b), "block 1", "block 1"),
    "exit only": (lambda b: train_exit(b), "block 1", "block 2"),
    "full": (lambda b: Full().attach(b), "live", "live"),
    "LoRA": (lambda b: LoRA().attach(b), "live", "live"),
}


def train_exit(backbone: Backbone) -> None:
    for name, parameter in backbone.model.named_parameters():
        parameter.requires_grad_("ln_post" in name or "ln_final" in name)


@cache
def system(name: str) -> tuple[Backbone, FeatureCache]:
    """One for all examples: what was asked before is there, the rest is not."""
    backbone = tiny_backbone()
    with seeded(0, "attach"):
        SYSTEMS[name][0](backbone)
    return drift(backbone), FeatureCache(backbone, Store(None))


def close(found: Tensor | None, plain: Tensor | None) -> bool:
    if found is None or plain is None:
        return found is plain
    return found.shape == plain.shape and torch.allclose(found, plain, atol=1e-5, rtol=1e-5)


def held(store: Store, what: str) -> dict[tuple[int, ...], Callable[[list[str]], Tensor]]:
    """Rows by name, of each table of pictures or texts, by the shape of its rows."""
    tables = [info.key for info in store.info() if info.key["what"] == what]
    return {tuple(key["shape"]): store.table(key).rows for key in tables}


@pytest.mark.parametrize("name", SYSTEMS)
@settings(max_examples=12, deadline=None)
@given(rows=st.lists(st.integers(0, 99), min_size=1, max_size=20), tokens=st.booleans())
def test_pictures_are_those_of_the_plain_backbone(name: str, rows: list[int], tokens: bool) -> None:
    backbone, features = system(name)
    found = features.image(pictures(rows), wants_of(tokens))
    plain = backbone.image(PIXELS[rows], wants_of(tokens))
    assert close(found.pooled, plain.pooled) and close(found.tokens, plain.tokens)
    taps = {SYSTEMS[name][1], SYSTEMS[name][2]}
    assert set(features.counts["image"].cuts) <= taps, "the cut is elsewhere"


@pytest.mark.parametrize("name", SYSTEMS)
@settings(max_examples=12, deadline=None)
@given(rows=st.lists(st.integers(0, len(WORDS) - 1), min_size=1, max_size=12), tokens=st.booleans())
def test_texts_are_those_of_the_plain_backbone(name: str, rows: list[int], tokens: bool) -> None:
    backbone, features = system(name)
    asked = texts(backbone, rows)
    found, plain = features.text(asked, wants_of(tokens)), backbone.text(asked.ids, wants_of(tokens))
    assert close(found.pooled, plain.pooled)
    if tokens:
        assert found.tokens is not None and plain.tokens is not None
        assert found.ends is not None and plain.ends is not None and torch.equal(found.ends, plain.ends)
        assert found.tokens.shape == plain.tokens.shape
        for place, end in enumerate(plain.ends.tolist()):  # what stands behind the EOT means nothing
            assert close(found.tokens[place, : end + 1], plain.tokens[place, : end + 1])
    assert found.input_ids is not None and torch.equal(found.input_ids, asked.ids)
    assert set(features.counts["text"].cuts) <= {SYSTEMS[name][1], SYSTEMS[name][2]}


@pytest.mark.parametrize("name", SYSTEMS)
def test_the_cut_is_as_deep_as_can_be(name: str) -> None:
    backbone, _ = system(name)
    features = FeatureCache(backbone, Store(None))
    for tokens, tap in ((False, SYSTEMS[name][1]), (True, SYSTEMS[name][2])):
        before = {tower: dict(counts.cuts) for tower, counts in features.counts.items()}
        features.image(pictures([0]), wants_of(tokens))
        features.text(texts(backbone, [0]), wants_of(tokens))
        for tower, counts in features.counts.items():
            assert counts.cuts[tap] == before[tower].get(tap, 0) + 1, f"{tower}: {counts.cuts}"


class Words(Composer):
    """Reads patch and word tokens, as cross-attention would."""

    wants: ClassVar[dict[str, frozenset[str]]] = dict.fromkeys(("image", "text"), POOLED | {"tokens"})

    def forward(self, image: ImageFeatures, text: TextFeatures) -> Tensor:
        assert image.tokens is not None and text.tokens is not None
        width = image.pooled.shape[1]
        both = image.tokens.mean(1)[:, :width] * text.tokens[:, 0, :width]
        return image.pooled + text.pooled + both


@pytest.mark.parametrize("composer", [lambda: Combiner(8, 16, start="random"), Words])
@pytest.mark.parametrize("adapter", [Full(last=1), LoRA(last=1), Full(towers="image"), None])
def test_gradients_are_those_of_the_live_towers(adapter: Any, composer: Callable[[], Composer]) -> None:
    with seeded(0, "composer"):
        model = tiny_retriever(adapter, composer())
    drift(model.backbone)
    batch = tiny_collate()(tiny_domains()[0].train[:10])
    grads: list[dict[str, Tensor]] = []
    for features in (None, FeatureCache(model.backbone, Store(None))):
        model.cache = features
        model.eval().zero_grad()  # without dropout; gradients flow all the same
        loss = tiny_loss(batch, model(batch))
        if loss.requires_grad:
            loss.backward()
        grads.append({n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None})
    live, kept = grads
    assert live.keys() == kept.keys()
    if adapter is not None:
        assert any(name.startswith("backbone.") and value.any() for name, value in live.items())
    for name, value in live.items():
        assert torch.allclose(value, kept[name], atol=1e-6 + 1e-5 * float(value.abs().max())), name


# -- bits ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["frozen", "full, last block"])
@settings(max_examples=8, deadline=None)
@given(random=st.randoms(use_true_random=False), size=st.integers(1, 100))
def test_bits_of_a_row_depend_on_the_item_alone(name: str, random: Any, size: int) -> None:
    backbone, _ = system(name)
    names = [f"picture {row}" for row in range(100)]
    whole = FeatureCache(backbone, Store(None))
    whole.image(pictures(range(100)))
    whole.text(texts(backbone, range(len(WORDS))))

    order = random.sample(range(100), 100)
    parts = FeatureCache(backbone, Store(None))
    for start in range(0, 100, size):
        parts.image(pictures(order[start : start + size] + order[:3]))  # some of them are known already
    for row in random.sample(range(len(WORDS)), len(WORDS)):
        parts.text(texts(backbone, [row, random.randrange(len(WORDS))]))
    for what, asked in (("image", names), ("text", None)):
        one, other = held(whole.store, what), held(parts.store, what)
        assert one.keys() == other.keys() and one
        for shape in one:
            limit = shape[0] if len(shape) == 2 else None
            ids = texts(backbone, range(len(WORDS)))
            wanted = asked or [n for n, k in zip(ids.names, ids.lengths, strict=True) if fits(k, limit)]
            assert torch.equal(one[shape](wanted), other[shape](wanted)), (what, shape)


def fits(length: int, limit: int | None) -> bool:
    return limit is None or min(-(-length // kept_rows.BUCKET) * kept_rows.BUCKET, 12) == limit


@pytest.mark.parametrize("name", ["frozen", "LoRA, last block"])
@pytest.mark.parametrize("tokens", [False, True])
def test_a_second_process_encodes_nothing_and_gets_the_same_bits(
    name: str, tokens: bool, tmp_path: Path
) -> None:
    found: list[tuple[Tensor, Tensor]] = []
    for encoded in (30, 0):
        backbone = copy.deepcopy(system(name)[0])
        features = FeatureCache(backbone, Store(tmp_path))
        asked = texts(backbone, [0, 3, 1])
        features.prepare(pictures(range(30)), asked, wants_of(tokens), wants_of(tokens))
        assert features.counts["image"].asked == 0, "these were not requested yet"
        assert features.counts["image"].encoded == encoded
        assert features.counts["text"].encoded == (3 if encoded else 0)
        shown = features.image(pictures([5, 29, 5]), wants_of(tokens))
        said = features.text(asked, wants_of(tokens))
        assert features.counts["image"].encoded == encoded
        if tokens:
            assert shown.tokens is not None and said.tokens is not None
            found.append((shown.tokens, said.tokens))
        else:
            found.append((shown.pooled, said.pooled))
    assert torch.equal(found[0][0], found[1][0]) and torch.equal(found[0][1], found[1][1])


def test_what_is_not_asked_through_the_store_is_not_written(tmp_path: Path) -> None:
    backbone, _ = system("full")
    features = FeatureCache(backbone, Store(tmp_path))
    features.image(pictures([1, 2]))
    features.text(texts(backbone, [1, 2]))
    features.prepare(pictures([1, 2]), texts(backbone, [1, 2]))
    assert features.store.info() == [] and features.report()["bytes_written"] == 0


def test_half_the_bytes_at_half_precision() -> None:
    backbone, _ = system("frozen")
    sizes, rows = [], []
    for dtype in (torch.float32, torch.float16):
        features = FeatureCache(backbone, Store(None), dtype)
        found = features.image(pictures(range(50))).pooled
        assert found.dtype == torch.float32
        rows.append(found)
        (info,) = features.store.info()
        assert info.key["dtype"] == str(dtype).removeprefix("torch.")
        sizes.append(info.bytes)
    assert sizes[0] == 2 * sizes[1]
    gap = (rows[0] - rows[1]).abs().max() / rows[0].abs().max()
    assert 0 < gap < 2e-3


def test_rows_are_not_normalised() -> None:
    backbone, _ = system("frozen")
    features = FeatureCache(backbone, Store(None))
    for found in (features.image(pictures(range(6))).pooled, features.text(texts(backbone, range(6))).pooled):
        assert (found.norm(dim=1) - 1).abs().min() > 0.05
    model = tiny_retriever()
    model.cache = FeatureCache(model.backbone, Store(None))
    embedded = model.eval().encode_images(pictures(range(6)))
    assert torch.allclose(embedded.norm(dim=1), torch.ones(6), atol=1e-5)
    assert not torch.allclose(model.image_features(pictures(range(6))).pooled, embedded, atol=0.05)


def test_what_a_caller_does_to_its_features_does_not_reach_the_store() -> None:
    backbone, _ = system("frozen")
    features = FeatureCache(backbone, Store(None))
    first = features.image(pictures([1])).pooled
    before = first.clone()
    first.zero_()
    assert torch.equal(features.image(pictures([1])).pooled, before)


# -- texts ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["frozen", "full, last block", "full"])
def test_equal_texts_are_encoded_once(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = copy.deepcopy(system(name)[0])
    features = FeatureCache(backbone, Store(None))
    features.text(texts(backbone, [2, 3, 2, 2, 0]))
    counts = features.counts["text"]
    assert counts.asked == 5 and counts.encoded + counts.live == 3
    assert features.report()["text"]["reused"] == 2
    features.text(texts(backbone, [2, 0]))
    again = 2 if name == "full" else 0
    assert counts.asked == 7 and counts.encoded + counts.live == 3 + again


@pytest.mark.parametrize("least", [0.0, 1e30])
def test_grouping_live_texts_by_length_changes_nothing(least: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "LEAST_FLOPS", least)
    backbone = copy.deepcopy(system("full")[0])
    features = FeatureCache(backbone, Store(None))
    asked = texts(backbone, [3, 0, 4, 0, 2, 3])
    assert len({min(-(-n // kept_rows.BUCKET) * kept_rows.BUCKET, 12) for n in asked.lengths}) > 1
    passes: list[int] = []
    plain = backbone.text

    def counted(_: Backbone, ids: Tensor, *wants: Any, **options: Any) -> TextFeatures:
        passes.append(len(ids))
        return plain(ids, *wants, **options)

    weights = torch.randn(6, backbone.embed_dim, generator=generator(0, "weights"))
    found: list[tuple[Tensor, dict[str, Tensor]]] = []
    for ask in (lambda: plain(asked.ids), lambda: features.text(asked)):
        backbone.zero_grad()
        if found:
            monkeypatch.setattr(Backbone, "text", counted)
        pooled = ask().pooled
        (pooled * weights).sum().backward()
        grads = {n: p.grad.clone() for n, p in backbone.named_parameters() if p.grad is not None}
        found.append((pooled.detach(), grads))
    assert sum(passes) == 4 and len(passes) == (3 if least == 0 else 1), "four distinct texts in groups"
    (live, grads), (grouped, grouped_grads) = found
    assert close(grouped, live) and grads.keys() == grouped_grads.keys()
    for name, grad in grads.items():
        assert torch.allclose(grouped_grads[name], grad, atol=1e-5 * (1 + float(grad.abs().max()))), name


# -- counts --------------------------------------------------------------------------------------------


def test_what_another_process_made_while_we_waited_is_taken_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone = tiny_backbone()
    words = Texts(backbone.tokenize([f"number {i} of {i % 7}" for i in range(200)]))
    ours, theirs = (FeatureCache(backbone, Store(tmp_path)) for _ in range(2))
    filling = Table.filling

    @contextmanager
    def waited(table: Table) -> Iterator[None]:
        monkeypatch.setattr(Table, "filling", filling)
        theirs.prepare(Images.of(torch.zeros(0, 3, 16, 16, dtype=torch.uint8)), words)
        with filling(table):
            yield

    monkeypatch.setattr(Table, "filling", waited)
    found = ours.text(words).pooled
    assert torch.equal(found, theirs.text(words).pooled)
    report = ours.report()["text"]
    assert report["encoded"] == 0 and report["reused"] == 200
    assert math.isfinite(report["seconds_saved"])


@pytest.mark.parametrize("name", SYSTEMS)
def test_counts_add_up(name: str) -> None:
    backbone, _ = system(name)
    features = FeatureCache(backbone, Store(None))
    features.prepare(pictures([0, 1, 2, 2]), texts(backbone, [0, 1, 1]))
    for rows in ([0, 1, 2], [5, 5, 0], [7]):
        features.image(pictures(rows))
        features.text(texts(backbone, [row % len(WORDS) for row in rows]))
    report = features.report()
    live = SYSTEMS[name][1] == "live"
    assert report["image"]["asked"] == report["text"]["asked"] == 7
    assert report["image"]["live"] == (7 if live else 0)
    assert report["image"]["encoded"] == (0 if live else 5)
    assert report["text"]["live"] == (6 if live else 0), "live texts: the 5 that stands twice once"
    assert report["text"]["encoded"] == (0 if live else 4), "0, 1, 2 and 5"
    for tower in ("image", "text"):
        part = report[tower]
        assert part["asked"] == part["encoded"] + part["live"] + part["reused"]
        assert sum(part["taps"].values()) == 3 and part["taps"] == {SYSTEMS[name][1]: 3}
        assert part["seconds_saved"] >= 0


def test_rows_that_are_made_and_never_asked_for_are_no_negative_reuse() -> None:
    backbone, _ = system("frozen")
    features = FeatureCache(backbone, Store(None))
    features.prepare(pictures([0, 1, 2]), texts(backbone, [0, 1, 2]))
    features.image(pictures([0, 1]), wants_of(True))  # at another cut than what was prepared
    features.text(texts(backbone, [0, 1]), wants_of(True))
    for tower in ("image", "text"):
        assert features.report()[tower]["reused"] == 0
    features.image(pictures([0, 1, 1]))
    features.image(pictures([1]), wants_of(True))
    assert features.report()["image"]["reused"] == 2, "picture 1, twice; what was prepared is first used now"


def test_operations_on_what_is_kept_are_counted_apart() -> None:
    backbone, _ = system("frozen")
    features = FeatureCache(backbone, Store(None))
    with features.counting() as spent:
        features.image(pictures([0]))
        once = spent()
        features.image(pictures([0]))
        assert spent() == once > 0, "the second one finds the row"
    features.image(pictures([1]))
    assert spent() == once, "nobody counts any more"


def test_the_check_of_rows_from_disk_is_counted_apart(tmp_path: Path) -> None:
    """A run that was killed meets its own rows again: its steps took no more for that."""
    backbone, _ = system("frozen")
    FeatureCache(backbone, (store := Store(tmp_path))).image(pictures([0, 1]))
    store.flush()
    features = FeatureCache(backbone, Store(tmp_path))
    with FlopCount() as all_of_it, features.counting() as spent:
        features.image(pictures([0, 1]))
    assert all_of_it.total == spent() > 0


# -- towers that give pooled features only ----------------------------------------------------------------

RESNET = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "head_width": 16},
    "text_cfg": {"context_length": 12, "width": 32, "heads": 2, "layers": 2},
}


def test_an_opaque_tower_is_kept_when_it_is_frozen() -> None:
    backbone = Backbone.random(RESNET, seed=0)
    pixels = torch.randint(0, 256, (5, 3, 32, 32), dtype=torch.uint8, generator=generator(0, "large"))
    shown = Images.of(pixels, list("abcde"), "clip-32")
    features = FeatureCache(backbone, Store(None))
    for _ in range(2):
        assert close(features.image(shown).pooled, backbone.image(pixels).pooled)
    assert features.counts["image"].encoded == 5 and features.counts["image"].cuts == {"pooled": 2}

    for parameter in list(backbone.model.visual.attnpool.parameters()):
        parameter.requires_grad_(True)
    assert features.live_images() and close(features.image(shown).pooled, backbone.image(pixels).pooled)
    assert features.counts["image"].live == 5

    backbone.model.visual.requires_grad_(False)
    backbone.model.visual.train()  # batch norms take the batch's statistics
    assert features.live_images()
    backbone.eval()
    backbone.model.visual.bn1.running_mean.add_(0.5)
    assert close(features.image(shown).pooled, backbone.image(pixels).pooled), "moved statistics"
    assert features.counts["image"].encoded == 10


# -- prompts -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prompt", [ContextPrompt(2), DeepPrompt(2), DeepPrompt(2, coupled=False)])
def test_a_prompt_is_live_in_training_and_kept_when_it_rests(prompt: Any) -> None:
    backbone = tiny_backbone()
    with seeded(0, "prompt"):
        prompt.attach(backbone)
    drift(backbone)
    features = FeatureCache(backbone, Store(None))
    rows = [0, 1, 4, 1]

    def same() -> dict[str, str]:
        """The cuts of both towers, which give what the plain backbone does."""
        before = {tower: dict(counts.cuts) for tower, counts in features.counts.items()}
        asked = texts(backbone, rows)
        shown, said = features.image(pictures(rows)), features.text(asked)
        assert close(shown.pooled, backbone.image(PIXELS[rows]).pooled)
        assert close(said.pooled, backbone.text(asked.ids).pooled)
        new = {
            tower: set(held.cuts.items()) - set(before[tower].items())
            for tower, held in features.counts.items()
        }
        return {tower: next(iter(taps))[0] for tower, taps in new.items()}

    image = "pooled" if isinstance(prompt, ContextPrompt) else "live"
    assert same() == {"image": image, "text": "live"}
    with torch.no_grad():
        assert same() == {"image": image, "text": "live"}, "it may be trained in between"
        with weights_fixed():
            assert same() == {"image": "pooled", "text": "pooled"}
        drift(backbone)
        with weights_fixed():
            assert same() == {"image": "pooled", "text": "pooled"}
    backbone.requires_grad_(False)
    assert same() == {"image": "pooled", "text": "pooled"}
    backbone.text_prompt = backbone.image_prompt = None
    assert same() == {"image": "pooled", "text": "pooled"}


@pytest.mark.parametrize("towers", ["both", "image", "text"])
def test_a_prompt_by_its_input_looks_at_towers_that_are_trained_in_part(towers: Any) -> None:
    backbone = tiny_backbone()
    Full(last=1).attach(backbone)
    with seeded(0, "prompt"):
        CodaPrompt(2, 2, depth=1, towers=towers).attach(backbone)
    drift(backbone)
    features, rows = FeatureCache(backbone, Store(None)), [0, 1, 4, 1]
    for _ in range(2):
        asked = texts(backbone, rows)
        assert close(features.image(pictures(rows)).pooled, backbone.image(PIXELS[rows]).pooled)
        assert close(features.text(asked).pooled, backbone.text(asked.ids).pooled)
        drift(backbone)
    counts = features.counts["image" if towers == "both" else towers]
    assert counts.encoded and set(counts.cuts) > {"live"}, "its look at the bare tower is kept up to the cut"


# -- what is never kept ----------------------------------------------------------------------------------


def test_pictures_of_unknown_make_are_never_kept() -> None:
    backbone, _ = system("frozen")
    features = FeatureCache(backbone, Store(None))
    for rows in ([0, 1], [1, 2]):
        # All of one name: what they would be kept under tells nothing about them.
        shown = Images.of(PIXELS[rows], ["same", "same"])
        assert close(features.image(shown).pooled, backbone.image(PIXELS[rows]).pooled)
    features.prepare(Images.of(PIXELS[:4]), texts(backbone, [0]))
    assert features.counts["image"].live == 4 and features.counts["image"].encoded == 0
    assert [info.key["what"] for info in features.store.info()] == ["text"]


def test_a_copy_of_a_retriever_leaves_the_features_behind() -> None:
    model = tiny_retriever()
    model.cache = FeatureCache(model.backbone, Store(None))
    twin = copy.deepcopy(model)
    assert twin.cache is None and model.cache is not None and twin.reads_pixels
    with torch.no_grad():
        twin.backbone.model.visual.proj.mul_(2)
        one, other = (m.eval().image_features(pictures([0])).pooled for m in (model, twin))
    assert close(other, 2 * one)


def test_pixels_are_decoded_only_for_what_is_missing() -> None:
    backbone, _ = system("frozen")
    features = FeatureCache(backbone, Store(None))
    decoded: list[int] = []

    def load(rows: Sequence[int], again: bool) -> Tensor:
        decoded.extend(rows)
        return PIXELS[list(rows)]

    names = [f"picture {row}" for row in range(100)]
    features.image(Images(names[:5], load, KIND))
    assert set(decoded) == set(range(5))
    decoded.clear()
    features.image(Images(names[:7], load, KIND))
    assert set(decoded) == {5, 6}
    decoded.clear()
    features.image(Images(names[:7], load, KIND).part([6, 0]))
    assert decoded == []
