"""Kept features say what the backbone that made them says, and name what they do not hold."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from clplat.errors import UserError
from clplat.parts.teachers._base import TeacherPart
from clplat.parts.teachers.backbone import OtherBackbone
from clplat.parts.teachers.kept_features import KeptFeatures
from clplat.testing import TeacherContract, tiny_collate, tiny_domains, tiny_learner, tiny_retriever
from clplat.trees import save_tree

FIRST, OTHER = (tiny_collate()(tiny_domains()[i].train[:6]) for i in range(2))


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("features") / "teacher.safetensors"
    learner, teacher = tiny_learner(tiny_retriever()), OtherBackbone(weight=0.3)
    teacher.begin(learner)
    teacher.outputs(learner, FIRST)
    teacher.keep(path)
    return path


class TestKeptFeatures(TeacherContract):
    @pytest.fixture(autouse=True)
    def held(self, file: Path) -> None:
        self.path = str(file)

    def make(self) -> TeacherPart:
        return KeptFeatures(self.path)


def test_it_says_what_the_backbone_said(file: Path) -> None:
    learner = tiny_learner(tiny_retriever())
    kept, live = KeptFeatures(str(file), weight=0.3), OtherBackbone(weight=0.3)
    for part in (kept, live):
        part.begin(learner)
    found, wanted = (part.outputs(learner, FIRST) for part in (kept, live))
    assert torch.equal(found.query, wanted.query) and torch.equal(found.candidates, wanted.candidates)
    assert float(found.scale) == pytest.approx(float(wanted.scale))
    with pytest.raises(UserError, match=r"holds no features of .*'tiny/black"):
        kept.outputs(learner, OTHER)


def test_what_is_no_such_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is no file"):
        KeptFeatures("nowhere.safetensors")
    save_tree(tmp_path / "other.safetensors", {"weights": {}})
    with pytest.raises(UserError, match="holds no features of a teacher"):
        KeptFeatures(str(tmp_path / "other.safetensors")).begin(tiny_learner(tiny_retriever()))
