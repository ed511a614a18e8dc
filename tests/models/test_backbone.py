"""The backbone against open_clip's own forward, and against what users get wrong."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from clplat.errors import UserError
from clplat.models import loading
from clplat.models.backbone import Backbone
from clplat.models.features import POOLED
from clplat.models.weight_file import read_weights

VISION = {"image_size": 24, "layers": 3, "width": 48, "head_width": 16, "patch_size": 12}
TEXT = {"context_length": 16, "width": 32, "heads": 2, "layers": 2, "vocab_size": 49408}
CONFIG = {"embed_dim": 32, "vision_cfg": VISION, "text_cfg": TEXT}
TEXTS = ["a red shoe", "is blue and has long sleeves", "dog", "word " * 30]


def config(
    vision: dict[str, Any] | None = None, text: dict[str, Any] | None = None, **more: Any
) -> dict[str, Any]:
    return {
        **CONFIG,
        "vision_cfg": {**VISION, **(vision or {})},
        "text_cfg": {**TEXT, **(text or {})},
        **more,
    }


def stock(cfg: dict[str, Any], backbone: Backbone) -> Any:
    """open_clip's own model with the backbone's weights, loaded strictly."""
    model = loading.build(cfg, {}, "test").model.eval()
    model.load_state_dict(backbone.stock_state_dict(), strict=True)
    return model


def pixels(count: int = 4) -> Tensor:
    return torch.randn(count, 3, 24, 24, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return Backbone.random(CONFIG, seed=0)


@pytest.fixture(scope="module")
def folder(backbone: Backbone, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights")
    backbone.save(path)
    return path


CONFIGS = {
    "standard": config(),
    "average pooling": config({"pool_type": "avg"}),
    "norm after pooling": config({"pool_type": "avg", "final_ln_after_pool": True}),
    "norm after the class token": config({"final_ln_after_pool": True}),
    "layer scale, no norm before, fixed positions": config(
        {"ls_init_value": 0.1, "no_ln_pre": True, "pos_embed_type": "sin_cos_2d"}, {"ls_init_value": 0.1}
    ),
    "quick gelu": config(quick_gelu=True),
    "text tower apart": config(custom_text=True),
    "eos pooling": config(text={"pool_type": "eos", "eos_id": 49407}),
    "projection with bias": config(text={"proj_bias": True}, custom_text=True),
    "own attention blocks": config({"qk_norm": True}, {"scale_attn": True}, custom_text=True),
}


@pytest.mark.parametrize("cfg", CONFIGS.values(), ids=CONFIGS)
def test_features_are_those_of_open_clip(cfg: dict[str, Any]) -> None:
    backbone = Backbone.random(cfg, seed=1)
    model, ids = stock(cfg, backbone), backbone.tokenize(TEXTS)
    for wants in (POOLED, POOLED | {"tokens", "hidden"}):
        image = backbone.image(pixels(), wants)
        text = backbone.text(ids, wants)
        torch.testing.assert_close(image.pooled, model.encode_image(pixels()), atol=2e-6, rtol=1e-4)
        torch.testing.assert_close(text.pooled, model.encode_text(ids), atol=2e-6, rtol=1e-4)
    assert image.tokens.shape == (4, 4, 48) and [h.shape for h in image.hidden] == [(4, 5, 48)] * 3
    assert text.tokens.shape == (4, 16, 32) and [h.shape for h in text.hidden] == [(4, 16, 32)] * 2
    assert text.ends.tolist() == [4, 7, 2, 15] and text.input_ids is ids
    inner = model.forward_intermediates(pixels(), ids, image_output_fmt="NLC")
    torch.testing.assert_close(image.hidden[1][:, 1:], inner["image_intermediates"][1], atol=2e-6, rtol=1e-4)
    torch.testing.assert_close(text.hidden[0], inner["text_intermediates"][0], atol=2e-6, rtol=1e-4)


def test_tokens_are_those_of_open_clip() -> None:
    cfg = config({"output_tokens": True}, {"output_tokens": True}, custom_text=True)
    backbone = Backbone.random(cfg, seed=1)
    model, ids = stock(cfg, backbone), backbone.tokenize(TEXTS)
    torch.testing.assert_close(backbone.image(pixels(), {"tokens"}).tokens, model.visual(pixels())[1])
    torch.testing.assert_close(backbone.text(ids, {"tokens"}).tokens, model.text(ids)[1])


def test_gradients_are_those_of_open_clip(backbone: Backbone) -> None:
    ours = copy.deepcopy(backbone).requires_grad_(True)
    theirs, ids = stock(CONFIG, backbone).train(), backbone.tokenize(TEXTS)
    ours.train()
    (ours.image(pixels()).pooled.square().sum() + ours.text(ids).pooled.square().sum()).backward()
    (theirs.encode_image(pixels()).square().sum() + theirs.encode_text(ids).square().sum()).backward()
    expected = {name: p.grad for name, p in theirs.named_parameters()}
    actual = {name: p.grad for name, p in ours.model.named_parameters()}
    qkv = [actual[f"visual.transformer.resblocks.2.attn.{part}_proj.weight"] for part in "qkv"]
    torch.testing.assert_close(
        torch.cat(qkv), expected["visual.transformer.resblocks.2.attn.in_proj_weight"], atol=1e-5, rtol=1e-3
    )
    for name in ("visual.conv1.weight", "token_embedding.weight", "text_projection", "ln_final.weight"):
        torch.testing.assert_close(actual[name], expected[name], atol=1e-5, rtol=1e-3)


def test_gradient_checkpointing_changes_nothing(backbone: Backbone) -> None:
    ours = copy.deepcopy(backbone).requires_grad_(True)
    before = ours.image(pixels()).pooled
    ours.model.set_grad_checkpointing(True)
    after = ours.image(pixels()).pooled
    after.sum().backward()
    assert torch.equal(before, after) and ours.model.visual.conv1.weight.grad is not None


def test_a_watched_block_is_called(backbone: Backbone) -> None:
    ours, seen = copy.deepcopy(backbone), []
    ours.model.visual.transformer.resblocks[2].register_forward_hook(lambda *args: seen.append(args[2].shape))
    torch.testing.assert_close(ours.image(pixels()).pooled, backbone.image(pixels()).pooled)
    assert seen == [(4, 5, 48)]


@settings(max_examples=20, deadline=None)
@given(lengths=st.lists(st.integers(0, 20), min_size=1, max_size=5))
def test_trimming_is_lossless(lengths: list[int]) -> None:
    backbone = _shared()
    ids = backbone.tokenize(["cat " * length for length in lengths])
    alone = torch.cat([backbone.text(row[None]).pooled for row in ids])
    torch.testing.assert_close(backbone.text(ids).pooled, alone, atol=2e-6, rtol=1e-4)
    longest = min(max(lengths) + 2, 16)
    assert backbone.text(ids, {"tokens"}).tokens.shape[1] == longest
    assert backbone.truncated(["cat " * length for length in lengths]) == [
        i for i, length in enumerate(lengths) if length > 14
    ]


_cache: list[Backbone] = []


def _shared() -> Backbone:
    if not _cache:
        _cache.append(Backbone.random(CONFIG, seed=0))
    return _cache[0]


def test_uint8_pixels_are_normalised(backbone: Backbone) -> None:
    raw = torch.randint(0, 256, (2, 3, 24, 24), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (backbone.mean, backbone.std))
    expected = backbone.image((raw / 255 - mean) / std).pooled
    torch.testing.assert_close(backbone.image(raw).pooled, expected, atol=2e-6, rtol=1e-4)
    with pytest.raises(UserError, match="wants \\(B, 3, 24, 24\\)"):
        backbone.image(raw[:, :, :20])
    with pytest.raises(UserError, match=r"int64; uint8 or floats"):
        backbone.image(raw.long())


def test_pseudo_words_enter_as_embeddings(backbone: Backbone) -> None:
    ids = backbone.tokenize(["a $ shoe", "dog"])
    embeddings, ends = backbone.embed_text(ids), ids.argmax(dim=-1)
    torch.testing.assert_close(
        backbone.text_from_embeddings(embeddings, ends).pooled, backbone.text(ids).pooled
    )
    place = (ids == 259).nonzero()[0]
    word = torch.zeros(32, requires_grad=True)
    changed = embeddings.clone()
    changed[place[0], place[1]] = word
    pooled = backbone.text_from_embeddings(changed, ends).pooled
    assert not torch.allclose(pooled[0], backbone.text(ids).pooled[0])
    torch.testing.assert_close(pooled[1], backbone.text(ids).pooled[1])
    pooled[0].sum().backward()
    assert word.grad.abs().sum() > 0
    with pytest.raises(UserError, match="context holds 16"):
        backbone.text_from_embeddings(torch.zeros(1, 17, 32), torch.tensor([3]))
    with pytest.raises(UserError, match="at most 16"):
        backbone.text(torch.zeros(1, 17, dtype=torch.long))


def test_everything_is_frozen_and_in_evaluation_mode(backbone: Backbone) -> None:
    assert not any(parameter.requires_grad for parameter in backbone.parameters())
    assert backbone.logit_scale is backbone.model.logit_scale and not backbone.training
    assert (backbone.embed_dim, backbone.image_size, backbone.context_length) == (32, 24, 16)
    assert (backbone.text_width, backbone.image_width) == (32, 48)
    assert (backbone.text_layers, backbone.image_layers) == (2, 3)
    assert sum("in_proj" in name for name, _ in backbone.named_parameters()) == 0


def test_random_models_follow_their_seed_and_leave_the_generator_alone() -> None:
    state = torch.get_rng_state()
    first, second, other = (Backbone.random({"model_cfg": CONFIG}, seed=seed) for seed in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), state)
    assert first.fingerprint() == second.fingerprint() != other.fingerprint()


OPAQUE = {
    "resnet": ({"layers": [1, 1, 1, 1], "image_size": 32, "width": 8, "head_width": 16}, {}, "image"),
    "timm": ({"timm_model_name": "vit_tiny_patch16_224", "image_size": 224, "timm_pool": ""}, {}, "image"),
    "attention pooling": ({"attentional_pool": True, "attn_pooler_heads": 4}, {}, "image"),
    "bidirectional text": ({}, {"no_causal_mask": True, "pool_type": "last"}, "text"),
    "class token in the text": ({}, {"embed_cls": True}, "text"),
}


@pytest.mark.parametrize(("vision", "text", "tower"), OPAQUE.values(), ids=OPAQUE)
def test_other_towers_give_pooled_features_only(
    vision: dict[str, Any], text: dict[str, Any], tower: str
) -> None:
    # A timm or ResNet tower does not take the keys of a transformer.
    vision = vision if "image_size" in vision else {**VISION, **vision}
    cfg = {"embed_dim": 32, "vision_cfg": vision, "text_cfg": {**TEXT, **text}, "custom_text": True}
    backbone = Backbone.random(cfg, seed=0)
    size = backbone.image_size
    images, ids = torch.randn(2, 3, size, size), backbone.tokenize(TEXTS)
    model = stock(cfg, backbone)
    torch.testing.assert_close(backbone.image(images).pooled, model.encode_image(images))
    torch.testing.assert_close(backbone.text(ids).pooled, model.encode_text(ids), atol=2e-6, rtol=1e-4)
    assert (backbone.image_layers is None) == (tower == "image")
    assert (backbone.text_layers is None) == (tower == "text")
    for asked in ("tokens", "hidden", "states"):
        with pytest.raises(UserError, match=f"the {tower} tower of backbone 'random'.*{asked}"):
            backbone.image(images, {asked}) if tower == "image" else backbone.text(ids, {asked})
    if tower == "text":
        with pytest.raises(UserError, match="embeddings"):
            backbone.embed_text(ids)


def test_a_saved_folder_is_read_by_open_clip_and_by_us(backbone: Backbone, folder: Path) -> None:
    assert sorted(path.name for path in folder.iterdir()) == [
        "open_clip_config.json",
        "open_clip_model.safetensors",
    ]
    model = open_clip.create_model(f"local-dir:{folder}", require_pretrained=True).eval()
    ids = open_clip.get_tokenizer(f"local-dir:{folder}")(TEXTS)
    assert torch.equal(ids, backbone.tokenize(TEXTS))
    torch.testing.assert_close(
        model.encode_image(pixels()), backbone.image(pixels()).pooled, atol=2e-6, rtol=1e-4
    )
    torch.testing.assert_close(model.encode_text(ids), backbone.text(ids).pooled, atol=2e-6, rtol=1e-4)
    again = Backbone.load(f"local-dir:{folder}")
    assert again.fingerprint() == backbone.fingerprint() and again.name == f"local-dir:{folder}"


def test_the_shipped_model_is_a_name(
    backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "SHIPPED", tmp_path)
    backbone.save(tmp_path / "clplat-tiny")
    assert Backbone.load("clplat-tiny").fingerprint() == backbone.fingerprint()
    with pytest.raises(UserError, match="did you mean 'clplat-tiny'"):
        Backbone.load("clplat-tinny")
    with pytest.raises(UserError, match="comes with its own weights"):
        Backbone.load("clplat-tiny", "openai")


def test_half_precision_at_rest(backbone: Backbone, folder: Path, tmp_path: Path) -> None:
    backbone.save(tmp_path, half=True)
    sizes = [(path / loading.WEIGHTS).stat().st_size for path in (tmp_path, folder)]
    assert sizes[0] < 0.51 * sizes[1]
    again = Backbone.load(f"local-dir:{tmp_path}")
    assert again.logit_scale.dtype == torch.float32
    torch.testing.assert_close(
        again.image(pixels()).pooled, backbone.image(pixels()).pooled, atol=5e-3, rtol=5e-2
    )


def test_stock_weights_go_back_in(backbone: Backbone) -> None:
    other = Backbone.random(CONFIG, seed=9)
    other.load_stock_state_dict(backbone.stock_state_dict())
    assert other.fingerprint() == backbone.fingerprint()
    with pytest.raises(UserError, match="do not fit"):
        other.load_stock_state_dict({})


def test_the_fingerprint_covers_what_determines_the_output(backbone: Backbone) -> None:
    before = backbone.fingerprint()
    changed = copy.deepcopy(backbone)
    changed.name = "another name"
    assert changed.fingerprint() == before
    changed.model.ln_final.bias.data[3] += 1e-6
    weights = changed.fingerprint()
    changed.model.ln_final.bias.data[3] = 0
    assert weights != before and changed.fingerprint() == before
    other = Backbone.random({"model_cfg": CONFIG, "preprocess_cfg": {"mean": [0.5, 0.5, 0.5]}}, seed=0)
    assert other.mean == (0.5, 0.5, 0.5) and other.fingerprint() != before


def test_names_and_sources_that_do_not_exist(folder: Path, tmp_path: Path) -> None:
    for arguments, message in [
        (("ViT-B-33",), "did you mean 'ViT-B-32'"),
        (("ViT-B-32",), "needs weights: pretrained = a tag \\(openai"),
        (("ViT-B-32", "laion2b_s34b_b79"), "did you mean 'laion2b_s34b_b79k'"),
        (("ViT-B-32", str(tmp_path / "none.pt")), "neither a file nor a pretrained tag"),
        ((f"local-dir:{tmp_path}/none",), "no such folder"),
        ((f"local-dir:{tmp_path}",), "no such file.*open_clip_config.json"),
        ((f"local-dir:{folder}", "openai"), "comes with its own weights"),
    ]:
        with pytest.raises(UserError, match=message):
            Backbone.load(*arguments)
    (tmp_path / loading.CONFIG).write_text((folder / loading.CONFIG).read_text())
    with pytest.raises(UserError, match="has no weights"):
        Backbone.load(f"local-dir:{tmp_path}")
    (tmp_path / loading.WEIGHTS).write_bytes((folder / loading.WEIGHTS).read_bytes()[:1000])
    with pytest.raises(UserError, match="damaged"):
        Backbone.load(f"local-dir:{tmp_path}")
    (tmp_path / loading.CONFIG).write_text("{")
    with pytest.raises(UserError, match="no JSON"):
        Backbone.load(f"local-dir:{tmp_path}")
    with pytest.raises(UserError, match="needs the keys embed_dim"):
        Backbone.random({"embed_dim": 3}, seed=0)
    with pytest.raises(UserError, match="not a model that open_clip can build"):
        Backbone.random(config(colour="red"), seed=0)


def test_weights_that_do_not_fit_are_named(backbone: Backbone, folder: Path, tmp_path: Path) -> None:
    def attempt(vision: dict[str, Any], text: dict[str, Any]) -> Backbone:
        (tmp_path / loading.CONFIG).write_text(json.dumps({"model_cfg": config(vision, text)}))
        return Backbone.load(f"local-dir:{tmp_path}")

    (tmp_path / loading.WEIGHTS).write_bytes((folder / loading.WEIGHTS).read_bytes())
    assert attempt({}, {}).fingerprint() == backbone.fingerprint()
    with pytest.raises(UserError, match=r"positional_embedding is \(16, 32\), the model has \(20, 32\)"):
        attempt({}, {"context_length": 20})  # open_clip would stretch it without a word
    with pytest.raises(UserError, match=r"lacks tensor transformer.resblocks.2.*and 11 more"):
        attempt({}, {"layers": 3})
    with pytest.raises(UserError, match=r"holds the unknown tensor"):
        attempt({"layers": 2}, {})
    torch.save(
        {"state_dict": {f"module.{k}": v for k, v in backbone.stock_state_dict().items()}}, tmp_path / "w.pt"
    )
    assert read_weights(tmp_path / "w.pt")["text_projection"].shape == (32, 32)


def test_preprocessing_and_activation_follow_the_weights(
    backbone: Backbone, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "clplat-test.json").write_text(json.dumps(CONFIG))
    open_clip.add_model_config(tmp_path)
    tags = {"one": {"mean": (0.5, 0.4, 0.3), "std": (0.2, 0.2, 0.2), "quick_gelu": True}}
    monkeypatch.setattr(open_clip, "list_pretrained_tags_by_model", lambda name: list(tags))
    monkeypatch.setattr(open_clip, "is_pretrained_cfg", lambda name, tag: tag in tags)
    monkeypatch.setattr(open_clip, "get_pretrained_cfg", lambda name, tag: tags.get(tag, {}))
    monkeypatch.setattr(open_clip, "download_pretrained", lambda cfg: str(folder / loading.WEIGHTS))
    tagged = Backbone.load("clplat-test", "one")
    assert tagged.mean == (0.5, 0.4, 0.3) and tagged.model_cfg["quick_gelu"] is True
    assert type(tagged.model.transformer.resblocks[0].mlp.gelu).__name__ == "QuickGELU"

    # From a file: what lies beside it, else what all tags say (open_clip falls back to OpenAI's numbers).
    weights = tmp_path / "weights.safetensors"
    weights.write_bytes((folder / loading.WEIGHTS).read_bytes())
    assert Backbone.load("clplat-test", str(weights)).mean == (0.5, 0.4, 0.3)
    tags["two"] = {"mean": (0.1, 0.1, 0.1)}
    assert Backbone.load("clplat-test", str(weights)).mean == pytest.approx(open_clip.OPENAI_DATASET_MEAN)
    (tmp_path / loading.CONFIG).write_text(json.dumps({"preprocess_cfg": {"mean": [0.7, 0.7, 0.7]}}))
    assert Backbone.load("clplat-test", str(weights)).mean == (0.7, 0.7, 0.7)

    def offline(cfg: dict[str, Any]) -> str:
        raise OSError("no route to host\nand a long story")

    monkeypatch.setattr(open_clip, "download_pretrained", offline)
    with pytest.raises(
        UserError, match=r"could not download.*no route to host; offline, give the path"
    ) as caught:
        Backbone.load("clplat-test", "one")
    assert "\n" not in str(caught.value)


def test_texts_are_tokenized_as_by_open_clip(backbone: Backbone) -> None:
    ids = backbone.tokenize(["a photo of a $"])
    assert ids.dtype == torch.int64 and ids[0, :7].tolist() == [49406, 320, 1125, 539, 320, 259, 49407]
    assert backbone.tokenize([]).shape == (0, 16) and backbone.truncated([]) == []
    with pytest.raises(UserError, match="a list of texts"):
        backbone.tokenize("a photo")
