"""Avalanche is imported without what only others of its parts call; that comes when it is called."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest
import torch
from avalanche.evaluation.metrics import confusion_matrix, topk_acc

from clplat.training.avalanche import deferred


@pytest.fixture
def libraries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is heavy, one that is optional, and one that imports both."""
    heavy, optional = tmp_path / "clplat_test_heavy", tmp_path / "clplat_test_optional.py"
    heavy.mkdir()
    (heavy / "__init__.py").write_text("__version__ = '2.0'\n")
    (heavy / "sums.py").write_text("def add(a, b=1):\n    return a + b\n")
    optional.write_text("")
    (tmp_path / "clplat_test_user.py").write_text(
        "import clplat_test_heavy\n"
        "from clplat_test_heavy.sums import add\n"
        "try:\n    import clplat_test_optional\n    there = True\n"
        "except ImportError:\n    there = False\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("heavy", "heavy.sums", "optional", "user"):
        monkeypatch.delitem(sys.modules, f"clplat_test_{name}", raising=False)


@pytest.mark.usefixtures("libraries")
def test_a_deferred_module_is_imported_at_its_first_use() -> None:
    with deferred("clplat_test_heavy", "clplat_test_heavy.sums", absent=("clplat_test_optional",)):
        user = importlib.import_module("clplat_test_user")
    assert not {"clplat_test_heavy", "clplat_test_heavy.sums", "clplat_test_optional"} & sys.modules.keys()
    assert user.add(2, b=3) == 5 and "clplat_test_heavy.sums" in sys.modules
    assert user.clplat_test_heavy.__version__ == "2.0" and not user.there
    with pytest.raises(AttributeError, match="no_such"):
        _ = user.clplat_test_heavy.no_such
    assert importlib.import_module("clplat_test_heavy").__file__, "everybody else gets the module itself"


@pytest.mark.usefixtures("libraries")
def test_what_is_imported_already_stays() -> None:
    heavy = importlib.import_module("clplat_test_heavy")
    with deferred("clplat_test_heavy", absent=("clplat_test_heavy",)):
        assert importlib.import_module("clplat_test_heavy") is heavy
    assert sys.modules["clplat_test_heavy"] is heavy


def test_the_parts_of_avalanche_that_call_them_work() -> None:
    accuracy = topk_acc.TopkAccuracy(top_k=1)
    accuracy.update(torch.eye(3), torch.tensor([0, 1, 0]), 0)
    assert accuracy.result() == {0: pytest.approx(2 / 3)}
    assert callable(confusion_matrix.wandb.Image)
