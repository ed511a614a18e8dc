"""One test for each way in which a kept feature can be another one than the model would give now."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from clplat.cache import keys
from clplat.cache.engine import FeatureCache
from clplat.cache.store import Store
from clplat.data.decoding import BadPicture, open_picture
from clplat.data.images import PixelStore, Preprocess
from clplat.data.inputs import Images, Texts
from clplat.data.records import Picture
from clplat.errors import UserError
from clplat.models.backbone import Backbone
from clplat.models.frozen import weights_fixed
from clplat.parts.adapters.peft import LoRA, adapter_class
from clplat.parts.composers.combiner import Combiner
from clplat.randomness import generator, seeded
from clplat.retriever import ComposedRetriever
from clplat.testing import tiny_backbone

KIND = Preprocess(16).fingerprint()
PIXELS = torch.randint(0, 256, (40, 3, 16, 16), dtype=torch.uint8, generator=generator(0, "pixels"))
WORDS = ["red", "make it blue", "is longer and has white dots on it"]
TOWER = {"layers": 2, "width": 32}
CONFIG: dict[str, Any] = {
    "embed_dim": 32,
    "vision_cfg": {**TOWER, "image_size": 16, "patch_size": 8, "head_width": 16},
    "text_cfg": {**TOWER, "context_length": 12, "heads": 2},
}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(params=["one store", "a new store on the same folder"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Store]:
    """The store as the next step finds it: in the same process, or in a new one."""
    same = Store(tmp_path)
    return (lambda: same) if request.param == "one store" else (lambda: Store(tmp_path))


def shown(rows: Sequence[int] = range(6), kind: str = KIND) -> Images:
    return Images.of(PIXELS[list(rows)], [f"picture {row}" for row in rows], kind)


def drift(backbone: Backbone) -> None:
    draw = generator(0, "drift")
    with torch.no_grad():
        for parameter in backbone.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape, generator=draw), alpha=0.05)


def asked(features: FeatureCache) -> tuple[Tensor, Tensor]:
    """Features of pictures and texts: checked against the plain backbone, then written to disk."""
    backbone = features.backbone
    texts = Texts(backbone.tokenize(WORDS))
    with torch.no_grad(), weights_fixed():
        found = features.image(shown()).pooled, features.text(texts).pooled
        plain = backbone.image(PIXELS[:6]).pooled, backbone.text(texts.ids).pooled
    features.store.flush()
    for one, other in zip(found, plain, strict=True):
        assert torch.allclose(one, other, atol=1e-5), "a stale entry was served"
    return found


def encoded(features: FeatureCache) -> tuple[int, int]:
    return features.counts["image"].encoded, features.counts["text"].encoded


def digests(store: Store) -> set[str]:
    return {info.digest for info in store.info()}


# -- the list of docs and of other people's bugs -----------------------------------------------------------


@pytest.mark.parametrize("method", ["pissa", "olora"])
def test_1_attaching_that_rewrites_the_base(method: str, opened: Callable[[], Store]) -> None:
    backbone, adapter = tiny_backbone(), adapter_class(method)()
    asked(FeatureCache(backbone, opened()))
    with seeded(0, "attach"):
        adapter.attach(backbone)
    features = FeatureCache(backbone, opened())
    asked(features)
    drift(backbone)
    asked(features)
    assert encoded(features) == (12, 6), "as attached, and as trained"
    adapter.merge(backbone)
    merged = FeatureCache(backbone, opened())
    asked(merged)
    assert encoded(merged) == (6, 3)


def test_1_merging(opened: Callable[[], Store]) -> None:
    backbone, adapter = tiny_backbone(), LoRA()
    features = FeatureCache(backbone, opened())
    bare = asked(features)
    with seeded(0, "attach"):
        adapter.attach(backbone)
    drift(backbone)
    adapter.merge(backbone)
    features.refresh()
    assert not torch.allclose(asked(features)[0], bare[0], atol=1e-3)
    assert encoded(features) == (12, 6)


def test_2_other_preprocessing(opened: Callable[[], Store]) -> None:
    draw = generator(0, "wide")
    wide = Image.fromarray(torch.randint(0, 256, (20, 60, 3), dtype=torch.uint8, generator=draw).numpy())
    picture = Picture("wide", lambda: wide)
    backbone = tiny_backbone()
    found = []
    for preprocess in (Preprocess(16), Preprocess(16, "targetpad"), Preprocess(16, "targetpad", ratio=2.0)):
        images = PixelStore(preprocess).images([picture])
        features = FeatureCache(backbone, opened())
        kept = features.image(images).pooled
        assert encoded(features) == (1, 0)
        assert torch.allclose(kept, backbone.image(preprocess(wide)[None]).pooled, atol=1e-5)
        features.store.flush()
        found.append(kept)
    assert all(not torch.allclose(a, b, atol=1e-3) for a, b in pairwise(found))


def test_2_another_size(opened: Callable[[], Store]) -> None:
    kinds = [Preprocess(size, kind).fingerprint() for size in (16, 24) for kind in ("clip", "targetpad")]
    assert len(set(kinds)) == 4
    backbone = tiny_backbone()
    for place, kind in enumerate(kinds):
        features = FeatureCache(backbone, opened())
        images = Images.of(PIXELS[place : place + 1], ["picture"], kind)
        assert torch.allclose(features.image(images).pooled, backbone.image(images.pixels).pooled, atol=1e-5)
        features.store.flush()
        assert encoded(features) == (1, 0)


def test_3_another_variant_of_a_caption_is_another_text(opened: Callable[[], Store]) -> None:
    backbone = tiny_backbone()
    both = ["is red and is longer", "is longer and is red", "is red and is longer,", "is red is longer"]
    for number, text in enumerate(both):
        features = FeatureCache(backbone, opened())
        ids = backbone.tokenize([text])
        assert torch.allclose(features.text(Texts(ids)).pooled, backbone.text(ids).pooled, atol=1e-5)
        features.store.flush()
        assert encoded(features) == (0, 1), number


@given(
    st.lists(
        st.lists(st.integers(0, 2), min_size=5, max_size=5),
        min_size=2,
        max_size=6,
        unique_by=lambda row: tuple(row),
    )
)
def test_3_names_of_texts_tell_their_ids_apart(rows: list[list[int]]) -> None:
    texts = Texts(torch.tensor(rows))
    assert len(set(texts.names)) == len(rows)
    for row, name, length in zip(rows, texts.names, texts.lengths, strict=True):
        head = [int(word) for word in name.split()]
        assert row[:length] == head and set(row[length:]) <= {row[-1]}, "cut where the padding begins"


def test_4_rows_are_kept_as_the_towers_give_them(opened: Callable[[], Store]) -> None:
    backbone = tiny_backbone()
    with seeded(0, "composer"):
        model = ComposedRetriever(backbone, Combiner(8, 16, start="random")).eval()
    model.cache = FeatureCache(backbone, opened())
    unit = model.encode_images(shown())
    assert torch.allclose(unit.norm(dim=1), torch.ones(6), atol=1e-5)
    model.cache.store.flush()
    model.cache = FeatureCache(backbone, opened())
    plain = backbone.image(PIXELS[:6]).pooled
    assert (plain.norm(dim=1) - 1).abs().min() > 0.05
    assert torch.allclose(model.image_features(shown()).pooled, plain, atol=1e-5)


def test_5_adapters_that_are_active_or_not(opened: Callable[[], Store]) -> None:
    backbone, adapter = tiny_backbone(), LoRA()
    bare = asked(FeatureCache(backbone, opened()))
    found = []
    for name in ("first", "second"):
        with seeded(0, "attach", name):
            adapter.attach(backbone, name)
        drift(backbone)
        found.append(asked(FeatureCache(backbone, opened())))
    for name, wanted in (("first", found[0]), (None, bare), ("second", found[1])):
        adapter.activate(backbone, name)
        features = FeatureCache(backbone, opened())
        assert torch.equal(asked(features)[0], wanted[0]) and encoded(features) == (0, 0)
    assert not torch.allclose(bare[0], found[0][0], atol=1e-3)
    assert not torch.allclose(found[0][0], found[1][0], atol=1e-3)


def test_5_a_disabled_adapter_with_a_trained_bias(opened: Callable[[], Store]) -> None:
    """As PEFT's ``bias="lora_only"``: the base's own bias was trained with the adapter, and stays."""
    backbone, adapter = tiny_backbone(), LoRA()
    bare = asked(FeatureCache(backbone, opened()))
    with seeded(0, "attach"):
        adapter.attach(backbone)
    for name, parameter in backbone.model.named_parameters():
        if name.endswith("mlp.c_fc.base_layer.bias"):
            parameter.requires_grad_(True)
    drift(backbone)
    adapter.activate(backbone, None)
    features = FeatureCache(backbone, opened())
    assert not torch.allclose(asked(features)[0], bare[0], atol=1e-3)
    assert encoded(features) == (6, 3)


def test_5_another_scaling(opened: Callable[[], Store]) -> None:
    found = []
    for alpha in (4, 16):
        backbone = tiny_backbone()
        with seeded(0, "attach"):
            LoRA(lora_alpha=alpha).attach(backbone)
        drift(backbone)
        found.append(asked(FeatureCache(backbone, opened()))[0])
    assert not torch.allclose(*found, atol=1e-3)


def test_6_rows_of_other_precision_at_rest(opened: Callable[[], Store]) -> None:
    backbone = tiny_backbone()
    half = FeatureCache(backbone, opened(), torch.float16)
    half.image(shown())
    half.store.flush()
    asked(FeatureCache(backbone, opened()))
    half = FeatureCache(backbone, opened(), torch.float16)
    found = half.image(shown()).pooled
    assert encoded(half) == (0, 0)
    assert 0 < (found - backbone.image(PIXELS[:6]).pooled).abs().max() < 1e-2


def test_6_towers_of_other_precision(opened: Callable[[], Store]) -> None:
    backbone = tiny_backbone()
    exact = asked(FeatureCache(backbone, opened()))[0]
    features = FeatureCache(copy.deepcopy(backbone).to(torch.bfloat16), opened())
    found = features.image(shown()).pooled
    assert found.dtype == torch.bfloat16 and encoded(features) == (6, 0)
    assert 0 < (found.float() - exact).abs().max() < 0.2


def test_7_another_context_length_or_template(opened: Callable[[], Store]) -> None:
    for length in (12, 10):
        backbone = Backbone.random(
            {**CONFIG, "text_cfg": {**CONFIG["text_cfg"], "context_length": length}}, 0
        )
        with torch.no_grad():  # so that nothing else tells the two apart
            text = backbone.model
            text.positional_embedding.copy_(torch.linspace(-1, 1, 32).expand(length, -1))
        for template in ("$", "a picture that is $", "$ is in this picture"):
            said = [template.replace("$", word) for word in ("red", "blue", "so long")]
            features = FeatureCache(backbone, opened())
            ids = backbone.tokenize(said)
            assert ids.shape[1] == length
            assert torch.allclose(features.text(Texts(ids)).pooled, backbone.text(ids).pooled, atol=1e-5)
            features.store.flush()
            assert encoded(features) == (0, 3), (length, template)


def test_8_a_missing_picture_raises_and_leaves_no_row(tmp_path: Path, opened: Callable[[], Store]) -> None:
    draw = generator(0, "files")
    files = [tmp_path / f"{number}.png" for number in range(5)]
    for file in files:
        size = (20, 20, 3)
        noise = torch.randint(0, 256, size, dtype=torch.uint8, generator=draw).numpy()
        Image.fromarray(noise).save(file)
    bad = files[3].read_bytes()
    files[3].unlink()

    def images() -> Images:
        made = [Picture(file.name, lambda file=file: open_picture(file)) for file in files]
        return PixelStore(Preprocess(16)).images(made)

    backbone = tiny_backbone()
    features = FeatureCache(backbone, opened())
    with pytest.raises(BadPicture, match=r"no such picture.*3\.png"):
        features.image(images())
    features.store.flush()
    assert features.store.info() == []
    files[3].write_bytes(bad[: len(bad) // 2])
    with pytest.raises(BadPicture, match=r"cannot read picture.*3\.png"):
        features.image(images())
    files[3].write_bytes(bad)
    features = FeatureCache(backbone, opened())
    found = features.image(images()).pooled
    assert encoded(features) == (5, 0) and bool(found.abs().sum(1).gt(0).all())
    assert torch.allclose(found, backbone.image(images().pixels).pooled, atol=1e-5)


def test_9_a_tower_that_drops_patches_in_training() -> None:
    vision = {**CONFIG["vision_cfg"], "patch_dropout": 0.5}
    backbone = Backbone.random({**CONFIG, "vision_cfg": vision}, seed=0)
    backbone.train()
    features = FeatureCache(backbone, Store(None))
    with seeded(0, "dropout"), torch.no_grad(), weights_fixed():
        one, other = features.image(shown()).pooled, features.image(shown()).pooled
    assert not torch.equal(one, other) and features.store.info() == []
    assert features.counts["image"].live == 12
    backbone.eval()
    asked(features)
    assert encoded(features) == (6, 3)


def test_10_other_weights(opened: Callable[[], Store]) -> None:
    """Of the same name, configuration and sizes."""
    for seed in (0, 1):
        features = FeatureCache(Backbone.random(CONFIG, seed), opened())
        asked(features)
        assert encoded(features) == (6, 3)
    for key in [info.key for info in features.store.info()]:
        assert len(key["content"]) == 64, "the key holds the digest of the weights"
    again = FeatureCache(Backbone.random(CONFIG, 0), opened())
    asked(again)
    assert encoded(again) == (0, 0), "equal weights, built anew, share rows"


@pytest.mark.parametrize(
    "change",
    [
        {"preprocess_cfg": {"mean": [0.1, 0.2, 0.3]}},
        {"preprocess_cfg": {"std": [0.1, 0.2, 0.3]}},
        {"model_cfg": {**CONFIG, "vision_cfg": {**CONFIG["vision_cfg"], "head_width": 32}}},
        {"model_cfg": {**CONFIG, "vision_cfg": {**CONFIG["vision_cfg"], "pool_type": "avg"}}},
        {"model_cfg": {**CONFIG, "quick_gelu": True}},
    ],
)
def test_11_the_same_weights_under_another_configuration(
    change: dict[str, Any], opened: Callable[[], Store]
) -> None:
    first = Backbone.random(CONFIG, 0)
    before = asked(FeatureCache(first, opened()))[0]
    backbone = Backbone.random({"model_cfg": CONFIG, "preprocess_cfg": {}} | change, 0)
    backbone.load_stock_state_dict(first.stock_state_dict())
    features = FeatureCache(backbone, opened())
    assert not torch.allclose(asked(features)[0], before, atol=1e-3)
    assert features.counts["image"].encoded == 6


def test_12_an_interrupted_write(tmp_path: Path) -> None:
    backbone = tiny_backbone()
    asked(FeatureCache(backbone, Store(tmp_path)))
    for path in tmp_path.rglob("*.safetensors"):
        content = path.read_bytes()
        path.unlink()
        path.write_bytes(content[: len(content) - 40])
        (path.parent / f".{path.name}.clplat-tmp").write_bytes(content[:100])
    features = FeatureCache(backbone, Store(tmp_path))
    asked(features)
    assert encoded(features) == (6, 3), "made again"
    last = FeatureCache(backbone, Store(tmp_path))
    asked(last)
    assert encoded(last) == (0, 0)


# -- and what else decides about bits ------------------------------------------------------------


def test_other_libraries(opened: Callable[[], Store], monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = tiny_backbone()
    asked(FeatureCache(backbone, opened()))
    real = keys.library_versions()
    for name, made in (("torch", 6), ("open_clip_torch", 6), ("peft", 6), ("mlflow", 0)):
        monkeypatch.setattr(keys, "library_versions", lambda name=name: {**real, name: "0.0.1"})
        features = FeatureCache(backbone, opened())
        asked(features)
        assert encoded(features)[0] == made, name


def test_another_number_of_threads(opened: Callable[[], Store]) -> None:
    """They decide how a sum is split, and so its last bits."""
    backbone = tiny_backbone()
    features = FeatureCache(backbone, opened())
    asked(features)
    torch.set_num_threads(2)
    asked(features)
    assert encoded(features) == (12, 6)
    torch.set_num_threads(1)
    asked(features)
    assert encoded(features) == (12, 6)


def test_another_precision_of_the_forward_pass(opened: Callable[[], Store]) -> None:
    backbone = tiny_backbone()
    exact = asked(FeatureCache(backbone, opened()))[0]
    features = FeatureCache(backbone, opened())
    with torch.autocast("cpu", torch.bfloat16):
        rough = features.image(shown()).pooled.float()
    assert encoded(features) == (6, 0) and 0 < (rough - exact).abs().max() < 0.2
    assert torch.equal(asked(features)[0], exact)
    assert encoded(features) == (6, 0)


def test_pictures_do_not_meet_texts_of_equal_name(opened: Callable[[], Store]) -> None:
    backbone = tiny_backbone()
    ids = backbone.tokenize(["red"])
    features = FeatureCache(backbone, opened())
    said = features.text(Texts(ids)).pooled
    images = Images.of(PIXELS[:1], Texts(ids).names, KIND)
    assert not torch.allclose(features.image(images).pooled, said, atol=1e-3)


# -- what no key can tell: the first use of wrong rows raises ----------------------------------------

WRONG = r"not what the model computes.*clplat cache clear.*--features off"


def test_two_pictures_that_share_a_key(tmp_path: Path) -> None:
    backbone = tiny_backbone()
    features = FeatureCache(backbone, Store(tmp_path))
    features.image(shown())
    features.store.flush()
    other = FeatureCache(backbone, Store(tmp_path))
    swapped = Images.of(PIXELS[10:16], [f"picture {row}" for row in range(6)], KIND)
    with pytest.raises(UserError, match=WRONG):
        other.image(swapped)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("what", ["image", "text"])
@pytest.mark.parametrize("wrong", ["other", "zero", "nan", "normalised"])
def test_rows_that_were_written_wrongly(wrong: str, what: str, dtype: torch.dtype, tmp_path: Path) -> None:
    backbone = tiny_backbone()
    texts = Texts(backbone.tokenize(WORDS))
    first = FeatureCache(backbone, Store(None), dtype)
    first.image(shown())
    first.text(texts)
    (key,) = [info.key for info in first.store.info() if info.key["what"] == what]
    names = [f"picture {row}" for row in range(6)] if what == "image" else texts.names
    rows = first.store.table(key).rows(names)
    made = {
        "other": rows.roll(1, 0),
        "zero": torch.zeros_like(rows),
        "nan": torch.full_like(rows, torch.nan),
        "normalised": torch.nn.functional.normalize(rows.float(), dim=-1).to(dtype),
    }[wrong]
    store = Store(tmp_path)
    store.table(key).put(names, made)
    store.flush()
    features = FeatureCache(backbone, Store(tmp_path), dtype)
    with pytest.raises(UserError, match=WRONG):
        _ = features.image(shown()) if what == "image" else features.text(texts)
    assert store.clear() > 0
    features = FeatureCache(backbone, Store(tmp_path), dtype)
    found = (features.image(shown()) if what == "image" else features.text(texts)).pooled
    plain = (backbone.image(PIXELS[:6]) if what == "image" else backbone.text(texts.ids)).pooled
    assert torch.allclose(found, plain, atol=5e-3)


def test_bytes_that_flipped_on_disk(tmp_path: Path) -> None:
    backbone = tiny_backbone()
    features = FeatureCache(backbone, Store(tmp_path))
    asked(features)
    right = features.image(shown()).pooled
    (info,) = [info for info in features.store.info() if info.key["what"] == "image"]
    (path,) = tmp_path.glob(f"*/{info.digest}/*.safetensors")
    rows = features.store.table(info.key).rows([f"picture {row}" for row in range(6)]).numpy().tobytes()
    content = path.read_bytes()
    assert content.count(rows) == 1
    content = content.replace(rows, bytes(byte ^ 0x2A for byte in rows))  # header and names are whole
    temporary = path.with_suffix(".other")
    temporary.write_bytes(content)
    os.replace(temporary, path)
    assert len(Store(tmp_path).verify()) == 1
    again = FeatureCache(backbone, Store(tmp_path))
    assert torch.equal(again.image(shown()).pooled, right) and again.counts["image"].encoded == 6
    assert f"{path} has other bytes than were written" in again.store.problem


def test_wrong_rows_under_a_prefix(tmp_path: Path) -> None:
    backbone = tiny_backbone()
    with seeded(0, "attach"):
        LoRA(last=1).attach(backbone)
    features = FeatureCache(backbone, Store(tmp_path))
    features.image(shown())
    features.store.flush()
    swapped = Images.of(PIXELS[10:16], [f"picture {row}" for row in range(6)], KIND)
    with pytest.raises(UserError, match=WRONG):
        FeatureCache(backbone, Store(tmp_path)).image(swapped)


def test_right_rows_raise_nothing_whatever_order_made_them(tmp_path: Path) -> None:
    backbone = tiny_backbone()
    for rows in ([0, 1, 2], [30, 2, 7], list(range(40))):
        for dtype in (torch.float32, torch.float16):
            features = FeatureCache(backbone, Store(tmp_path), dtype)
            found = features.image(shown(rows)).pooled
            assert torch.allclose(found, backbone.image(PIXELS[rows]).pooled, atol=5e-3)
            features.store.flush()


def test_wrong_rows_that_are_asked_for_later(tmp_path: Path) -> None:
    backbone = tiny_backbone()
    features = FeatureCache(backbone, Store(tmp_path))
    features.image(shown(range(6)))
    features.store.flush()
    other = FeatureCache(backbone, Store(tmp_path))
    other.image(shown(range(20, 26)))  # of these nothing is on disk
    swapped = Images.of(PIXELS[10:16], [f"picture {row}" for row in range(6)], KIND)
    with pytest.raises(UserError, match=WRONG):
        other.image(swapped)
