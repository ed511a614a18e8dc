"""Weight inheritance: which layers, which channels, and what is no smaller model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from clplat.cli import main
from clplat.errors import UserError
from clplat.mechanisms.inheritance import inherited
from clplat.models.backbone import Backbone
from clplat.testing import tiny_backbone


def config(large: Backbone, **changes: dict[str, Any]) -> dict[str, Any]:
    return {**large.model_cfg, **{name: {**large.model_cfg[name], **more} for name, more in changes.items()}}


def test_all_of_it_is_the_same_model() -> None:
    large, pixels = tiny_backbone(), torch.randint(0, 255, (2, 3, 16, 16), dtype=torch.uint8)
    small = inherited(large, large.model_cfg)
    assert torch.equal(small.image(pixels).pooled, large.image(pixels).pooled)


def test_layers_at_equal_distances_and_leading_channels() -> None:
    tower = {"layers": 5, "width": 32}
    large = Backbone.random(
        {
            "embed_dim": 16,
            "vision_cfg": {**tower, "image_size": 16, "patch_size": 8, "head_width": 16},
            "text_cfg": {**tower, "context_length": 12, "heads": 2},
        },
        seed=3,
    )
    small = inherited(large, config(large, vision_cfg={"layers": 3, "width": 16}, text_cfg={"layers": 2}))
    own, theirs = small.base_state(), large.base_state()
    for key, tensor in own.items():
        if "resblocks" in key:
            number = int(key.split("resblocks.")[1].split(".")[0])
            taken = (0, 2, 4)[number] if key.startswith("visual.") else (0, 4)[number]
            key = key.replace(f"resblocks.{number}.", f"resblocks.{taken}.")
        assert torch.equal(tensor, theirs[key][tuple(slice(n) for n in tensor.shape)]), key
    assert small.image(torch.zeros(1, 3, 16, 16, dtype=torch.uint8)).pooled.shape == (1, 16)


def test_a_larger_model_is_refused() -> None:
    large = tiny_backbone()
    with pytest.raises(UserError):
        inherited(large, config(large, text_cfg={"width": 96}))


def test_the_command_writes_a_model_that_loads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny_backbone().save(tmp_path / "large")
    sizes = ["--image-layers", "1", "--text-width", "24", "--joint-width", "16"]
    assert main(["shrink", str(tmp_path / "large"), *sizes, "--to", str(tmp_path / "small")]) == 0
    said = capsys.readouterr().out
    large, small = (Backbone.load(str(tmp_path / name)) for name in ("large", "small"))
    assert (small.image_layers, small.text_width, small.embed_dim) == (1, 24, 16)
    own, theirs = small.base_state(), large.base_state()
    key = "token_embedding.weight"
    assert torch.equal(own[key], theirs[key][:, :24]) and f"--backbone {tmp_path / 'small'}" in said
    assert main(["shrink", str(tmp_path / "large"), "--text-width", "30", "--to", str(tmp_path / "no")]) == 2
    assert "text width is 30; allowed: a multiple of 24 up to 48" in capsys.readouterr().err
    assert main(["shrink", str(tmp_path / "large"), "--image-layers", "3", "--to", str(tmp_path / "no")]) == 2
    assert "image layers is 3; allowed: up to 2" in capsys.readouterr().err
