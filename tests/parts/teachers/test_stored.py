"""Stored is the version of the file, and refuses one of another structure."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from clplat.errors import UserError
from clplat.parts.adapters.full import Full
from clplat.parts.teachers._base import TeacherPart
from clplat.parts.teachers.stored import Stored
from clplat.runs.checkpoint import Weights
from clplat.testing import TeacherContract, TinyTowers, nudge, tiny_collate, tiny_learner, tiny_retriever
from clplat.testing import tiny_domains as domains
from clplat.trees import save_tree

BATCH = tiny_collate()(domains()[0].train[:4])


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model, path = tiny_retriever(Full(last=1)), tmp_path_factory.mktemp("versions") / "1.safetensors"
    kept = Weights(model)
    nudge(model, 0.3)
    save_tree(path, {"weights": kept.tensors(), "strategy": None})
    return path


class TestStored(TeacherContract):
    @pytest.fixture(autouse=True)
    def version(self, file: Path) -> None:
        self.path = str(file)

    def make(self) -> TeacherPart:
        return Stored(self.path)


def test_it_says_what_the_stored_model_said(file: Path) -> None:
    model, trained = tiny_retriever(Full(last=1)), tiny_retriever(Full(last=1)).eval()
    part, learner = Stored(str(file)), tiny_learner(model)
    part.begin(learner)
    nudge(trained, 0.3)
    with torch.no_grad():
        assert torch.equal(part.outputs(learner, BATCH).query, trained(BATCH).query)


def test_what_the_file_leaves_out_is_the_model_before_the_stream(tmp_path: Path) -> None:
    """Version 0 of a run holds nothing of the backbone; the teacher does not follow the student."""
    model, initial = tiny_retriever(Full(last=1)), tiny_retriever(Full(last=1)).eval()
    save_tree(tmp_path / "0.safetensors", {"weights": {}, "strategy": None})
    part, learner = Stored(str(tmp_path / "0.safetensors")), tiny_learner(model)
    part.begin(learner)
    nudge(model, 0.3)
    with torch.no_grad():
        assert torch.equal(part.outputs(learner, BATCH).query, initial(BATCH).query)


def test_a_file_that_does_not_fit_is_refused(file: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is no file nowhere"):
        Stored("nowhere")
    with pytest.raises(UserError, match="which has no place in this model"):
        Stored(str(file)).begin(tiny_learner(TinyTowers()))
    save_tree(tmp_path / "other.safetensors", [1])
    with pytest.raises(UserError, match="is no version of a model"):
        Stored(str(tmp_path / "other.safetensors")).begin(tiny_learner(TinyTowers()))
