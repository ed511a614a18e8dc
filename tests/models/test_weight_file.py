"""Weights files as training code leaves them: read where that is safe, else one line says what is there."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from clplat.errors import UserError
from clplat.models.backbone import Backbone
from clplat.models.loading import CONFIG, WEIGHTS

NEW = "open_clip_pytorch_model.bin"
Written = Callable[..., Path]


@pytest.fixture
def tensors(small_backbone: Path) -> dict[str, Tensor]:
    return dict(load_file(small_backbone / WEIGHTS))


@pytest.fixture
def written(small_backbone: Path, tmp_path: Path) -> Written:
    """A folder of the small model with other weights: of torch, or tensors alone as safetensors."""

    def write(content: Any, safe: bool = False) -> Path:
        (tmp_path / CONFIG).write_bytes((small_backbone / CONFIG).read_bytes())
        if safe:
            save_file(content, tmp_path / WEIGHTS)
        else:
            torch.save(content, tmp_path / NEW)
        return tmp_path

    return write


def fingerprint(folder: Path) -> str:
    return Backbone.load(f"local-dir:{folder}").fingerprint()


def trained(tensors: dict[str, Tensor], **more: Any) -> dict[str, Any]:
    """What open_clip's training saves after an epoch."""
    return {"epoch": 3, "name": "first", "state_dict": tensors, "optimizer": {"state": {}}, **more}


def test_a_training_checkpoint_is_read(
    tensors: dict[str, Tensor], written: Written, small_backbone: Path
) -> None:
    held = {f"module._orig_mod.{name}": tensor for name, tensor in tensors.items()}
    numbers = {"best": np.float64(0.5), "seen": np.int64(12), "loss": np.float32(1.5)}
    folder = written(trained(held, **numbers))
    assert fingerprint(folder) == fingerprint(small_backbone)


@pytest.mark.parametrize("inside", ["visual._orig_mod.", "_orig_mod.", "module."])
def test_names_of_wrappers_are_taken_off(
    inside: str, tensors: dict[str, Tensor], written: Written, small_backbone: Path
) -> None:
    def named(name: str) -> str:
        if inside.startswith("visual."):
            return name.replace("visual.", inside, 1) if name.startswith("visual.") else name
        return inside + name

    folder = written({named(name): tensor for name, tensor in tensors.items()}, safe=True)
    assert fingerprint(folder) == fingerprint(small_backbone)


def test_a_bias_of_all_scores_is_no_hindrance(
    tensors: dict[str, Tensor], written: Written, small_backbone: Path
) -> None:
    folder = written({**tensors, "logit_bias": torch.tensor(-10.0)})
    assert fingerprint(folder) == fingerprint(small_backbone)


class Runs:
    """An object whose unpickling calls something."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return Path.touch, (self.mark,)


def test_what_only_unpickling_reads_is_named_and_not_read(
    tensors: dict[str, Tensor], written: Written, tmp_path: Path
) -> None:
    said = complaint(written(trained(tensors, args=argparse.Namespace(lr=1))))
    assert "argparse.Namespace" in said and "would run code" in said and NEW in said
    said = complaint(written(trained(tensors, more=Runs(tmp_path / "mark"))))
    assert "would run code" in said and not (tmp_path / "mark").exists()


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"epoch": 1, "name": "x"}, "holds no weights by name: there is epoch, name"),
        ([1, 2], "holds list, not weights by name"),
        ({}, "holds no weights by name: there is nothing"),
    ],
)
def test_what_is_no_weights_is_one_line(content: Any, expected: str, written: Written) -> None:
    assert expected in complaint(written(content))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(
    bad: float, tensors: dict[str, Tensor], written: Written
) -> None:
    name = "visual.proj"
    tensors[name] = tensors[name].clone()
    tensors[name][0, 0] = bad
    assert f"not finite: {name}" in complaint(written(tensors, safe=True))


def test_a_damaged_file_of_torch_is_one_line(tensors: dict[str, Tensor], written: Written) -> None:
    folder = written(tensors)
    content = (folder / NEW).read_bytes()
    for damaged in (content[:100], content[: len(content) // 2], b"", b"no weights"):
        (folder / NEW).write_bytes(damaged)
        assert NEW in complaint(folder)


def complaint(folder: Path) -> str:
    with pytest.raises(UserError) as caught:
        Backbone.load(f"local-dir:{folder}")
    said = str(caught.value)
    assert "\n" not in said and len(said) < 700
    return said


def test_a_configuration_that_is_none_is_one_line(small_backbone: Path, tmp_path: Path) -> None:
    (tmp_path / WEIGHTS).write_bytes((small_backbone / WEIGHTS).read_bytes())
    whole = json.loads((small_backbone / CONFIG).read_text())
    more = {"model_cfg": {**whole["model_cfg"], "x": 1}}
    for wrong in ([], {"model_cfg": 5}, {**whole, "preprocess_cfg": "x"}, more):
        (tmp_path / CONFIG).write_text(json.dumps(wrong))
        assert CONFIG in complaint(tmp_path)
