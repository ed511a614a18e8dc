"""Folders of transformers' CLIP and SigLIP: what they embed there, they embed here."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from clplat.errors import UserError
from clplat.models.backbone import Backbone

transformers: Any = pytest.importorskip("transformers", reason="what is read here is compared with it")

PIXELS, CONTEXT = 16, 12
_TOWER = {"hidden_size": 16, "intermediate_size": 43, "num_hidden_layers": 2, "num_attention_heads": 2}
_VISION = {"image_size": PIXELS, "patch_size": 8}


def saved(model: Any, folder: Path) -> Any:
    """A model whose weights are none of those that everything starts from, in a folder."""
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=draw) * 0.3)
    model.eval().save_pretrained(folder)
    return model


def clip(folder: Path, vocab_size: int = 49408, **text: Any) -> Any:
    act = text.pop("hidden_act", "quick_gelu")
    tower = {**_TOWER, "hidden_act": act}
    sides = {
        "text_config": {**tower, "max_position_embeddings": CONTEXT, "vocab_size": vocab_size, **text},
        "vision_config": {**tower, **_VISION, "hidden_size": 24, "num_attention_heads": 3},
    }
    return saved(transformers.CLIPModel(transformers.CLIPConfig(**sides, projection_dim=8)), folder)


def siglip(folder: Path, **vision: Any) -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers

    text = {**_TOWER, "max_position_embeddings": CONTEXT, "vocab_size": 20}
    config = transformers.SiglipConfig(text_config=text, vision_config={**_TOWER, **_VISION, **vision})
    model = saved(transformers.SiglipModel(config), folder)
    words = Tokenizer(
        models.WordLevel({"<pad>": 1, "<unk>": 0, "a": 2, "red": 3, "shoe": 4}, unk_token="<unk>")
    )
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    made = transformers.PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", unk_token="<unk>")
    made.save_pretrained(folder)
    return model


def texts(backbone: Backbone) -> Tensor:
    return backbone.tokenize(
        ["a red shoe", "a shoe", "longer than the context of twelve places and so it is cut"]
    )


def same(model: Any, backbone: Backbone, ids: Tensor) -> None:
    pixels = torch.randn(3, 3, PIXELS, PIXELS, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        image = model.get_image_features(pixel_values=pixels)
        text = model.get_text_features(input_ids=ids)
        ours = backbone.image(pixels).pooled, backbone.text(ids).pooled
    for theirs, own in zip((image, text), ours, strict=True):
        theirs = getattr(theirs, "pooler_output", theirs)
        torch.testing.assert_close(own, theirs, atol=1e-5, rtol=1e-5)
        assert theirs.std() > 0.1
    torch.testing.assert_close(backbone.logit_scale.reshape(()), model.logit_scale.detach().reshape(()))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"hidden_act": "gelu"},
        {"hidden_act": "gelu_new", "layer_norm_eps": 1e-3},
        {"eos_token_id": 2},
        {"vocab_size": 49410, "eos_token_id": 49407},
    ],
    ids=str,
)
def test_clip_embeds_what_it_embeds_in_transformers(tmp_path: Path, options: dict[str, Any]) -> None:
    model = clip(tmp_path, **options)
    if "vocab_size" in options:  # words were added behind the end, and one stands in a text
        (tmp_path / "vocab.json").write_text(json.dumps(words()), encoding="utf-8")
    backbone = Backbone.load(str(tmp_path))
    ids = texts(backbone)
    if "vocab_size" in options:
        ids[0, 2] = 49409
    same(model, backbone, ids)


def words() -> dict[str, int]:
    import open_clip

    marks = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}
    return {marks.get(word, word): i for word, i in open_clip.SimpleTokenizer().encoder.items()}


@pytest.mark.parametrize("options", [{}, {"hidden_act": "gelu", "layer_norm_eps": 1e-5}], ids=str)
def test_siglip_embeds_what_it_embeds_in_transformers(tmp_path: Path, options: dict[str, Any]) -> None:
    model, backbone = siglip(tmp_path, **options), Backbone.load(f"local-dir:{tmp_path}")
    own = transformers.AutoTokenizer.from_pretrained(tmp_path)
    ids = texts(backbone)
    assert torch.equal(
        ids[:2],
        own(
            ["a red shoe", "a shoe"], padding="max_length", max_length=CONTEXT, return_tensors="pt"
        ).input_ids,
    )
    same(model, backbone, ids)
    assert backbone.truncated(["a red shoe", "a " * 13]) == [1]


def test_what_is_saved_of_a_converted_model_is_the_same_model(tmp_path: Path) -> None:
    for make in (clip, siglip):
        source, target = tmp_path / make.__name__, tmp_path / f"{make.__name__}-saved"
        make(source)
        backbone = Backbone.load(str(source))
        backbone.save(target)
        again = Backbone.load(str(target))
        assert again.fingerprint() == backbone.fingerprint()
        assert torch.equal(texts(again), texts(backbone))


# -- pictures -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "processor"), [(clip, "CLIPImageProcessorPil"), (siglip, "SiglipImageProcessorPil")]
)
def test_pictures_are_prepared_as_the_folder_says(
    make: Callable[[Path], Any], processor: str, tmp_path: Path
) -> None:
    from clplat.data.images import Preprocess

    make(tmp_path)
    sizes: dict[str, Any] = {"size": {"height": PIXELS, "width": PIXELS}}
    if make is clip:
        sizes = {"size": {"shortest_edge": PIXELS}, "crop_size": {"height": PIXELS, "width": PIXELS}}
    own = getattr(transformers, processor)(**sizes, image_mean=[0.2, 0.3, 0.4], image_std=[0.5, 0.6, 0.7])
    own.save_pretrained(tmp_path)
    backbone = Backbone.load(str(tmp_path))
    shown = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 26, 3), dtype=np.uint8))
    pixels = Preprocess(PIXELS, resize=backbone.preprocess_cfg["resize_mode"])(shown)
    theirs = own(shown, return_tensors="pt").pixel_values[0]
    torch.testing.assert_close(backbone._normalised(pixels[None])[0], theirs, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "wrong",
    [
        {"size": {"shortest_edge": 20}},
        {"size": {"height": 16, "width": 20}},
        {"resample": 2},
        {"do_resize": False},
    ],
)
def test_another_preprocessing_is_refused(tmp_path: Path, wrong: dict[str, Any]) -> None:
    clip(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"size": 16, "crop_size": 16, **wrong}))
    with pytest.raises(UserError, match=r"preprocessor_config.json resizes to .*allowed: to 16"):
        Backbone.load(str(tmp_path))


# -- what cannot be read ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("clip")
    clip(found)
    return found


def changed(folder: Path, place: Path, **config: Any) -> str:
    shutil.copytree(folder, place)
    held = json.loads((place / "config.json").read_text(encoding="utf-8"))
    for key, value in config.items():
        held[key] = {**held[key], **value} if isinstance(value, dict) else value
    (place / "config.json").write_text(json.dumps(held), encoding="utf-8")
    return str(place)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (
            {"model_type": "chinese_clip"},
            r"config.json is of model_type 'chinese_clip' \(allowed: clip, siglip\)",
        ),
        ({"vision_config": {"hidden_act": "relu"}}, "hidden_act is 'relu'"),
        ({"text_config": {"num_hidden_layers": 1}}, "nothing takes tensor text_model.encoder.layers.1"),
        ({"vision_config": {"num_hidden_layers": 3}}, "lacks tensor vision_model.encoder.layers.2"),
        ({"projection_dim": 9}, r"does not fit: .* is \(.*8.*\), the model has \(.*9.*\)"),
        ({"text_config": {"vocab_size": 100}}, "has no tokenizer"),
        ({"text_config": {"hidden_size": "wide"}}, "text_config.hidden_size is 'wide', not a number"),
    ],
)
def test_what_cannot_be_read_is_one_line(
    folder: Path, tmp_path: Path, config: dict[str, Any], said: str
) -> None:
    with pytest.raises(UserError, match=said) as caught:
        Backbone.load(changed(folder, tmp_path / "changed", **config))
    assert "\n" not in str(caught.value)


def test_weights_that_are_not_there_or_in_several_files(folder: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    place = Path(changed(folder, tmp_path / "parts"))
    held = load_file(place / "model.safetensors")
    (place / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"has no weights \(one of model.safetensors"):
        Backbone.load(str(place))
    names = sorted(held)
    files = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for file, own in files.items():
        save_file({name: held[name] for name in own}, place / file)
    index = {"weight_map": {name: file for file, own in files.items() for name in own}}
    (place / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    assert Backbone.load(str(place)).fingerprint() == Backbone.load(str(folder)).fingerprint()
    (place / "b.safetensors").unlink()
    with pytest.raises(UserError, match=r"names 'b.safetensors', which is not in that folder"):
        Backbone.load(str(place))


# -- names ------------------------------------------------------------------------------------------------


def test_a_folder_is_named_by_its_path(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from clplat.models.known import refuse_unknown

    monkeypatch.chdir(folder.parent)
    expected = Backbone.load(f"local-dir:{folder}").fingerprint()
    assert Backbone.load(f"./{folder.name}").fingerprint() == expected
    with pytest.raises(UserError, match=f"there is a folder of this name: ./{folder.name}"):
        refuse_unknown(folder.name)
    with pytest.raises(UserError, match="no such folder: nothing"):
        refuse_unknown("./nothing")


def test_a_name_of_the_hub_is_read_from_its_cache(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub.constants as hub

    monkeypatch.setattr(hub, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(hub, "HF_HUB_OFFLINE", True)
    kept = tmp_path / "models--someone--tiny-clip"
    shutil.copytree(folder, kept / "snapshots" / ("a" * 40))
    (kept / "refs").mkdir()
    (kept / "refs" / "main").write_text("a" * 40, encoding="utf-8")
    expected = Backbone.load(str(folder)).fingerprint()
    assert Backbone.load("hf-hub:someone/tiny-clip").fingerprint() == expected
    with pytest.raises(UserError, match=r"'someone/other' is not in the Hub's cache on this machine"):
        Backbone.load("hf-hub:someone/other")
    with pytest.raises(UserError, match=r"'other' names no model of the Hub \(allowed: owner/name"):
        Backbone.load("hf-hub:other")
