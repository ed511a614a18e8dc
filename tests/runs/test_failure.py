"""An exception inside a part: one line for the user, and all of it on disk."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from clplat.cli import main
from clplat.errors import UserError
from clplat.events import Listener
from clplat.files import read_json
from clplat.runs.experiment import run

PARTS = '''
"""Parts that break."""
from __future__ import annotations
from typing import Any
import torch
from torch import Tensor
from clplat.parts.composers._base import Composer
from clplat.training.strategy import Strategy


class Misshapen(Strategy):
    """Multiplies what does not fit.

    Args:
        at: the step where it breaks.
    """
    def __init__(self, at: int = 0) -> None:
        self.at, self.seen = at, 0
    def loss(self, learner: Any, batch: Any, outputs: Any) -> dict[str, Tensor]:
        self.seen += 1
        if self.seen > self.at:
            torch.ones(3, 5) @ outputs.query
        return {}


class Wrong(Composer):
    """Breaks at the first batch."""
    def forward(self, image: Any, text: Any) -> Tensor:
        return torch.ones(3, 5) @ image.pooled


class Around(Composer):
    """Holds another composer.

    Args:
        inner: it.
    """
    def __init__(self, inner: Composer | None = None) -> None:
        super().__init__()
        self.inner = inner
    def forward(self, image: Any, text: Any) -> Tensor:
        return self.inner(image, text)
'''

SMALL: dict[str, Any] = {
    "scenario": {"domains": 2, "train": 8, "queries": 4, "gallery": 20, "size": 16},
    "train": {"epochs": 1, "batch_size": 4},
    "adapter": {"name": "full", "last": 1},
    "probes": "none",
}


@pytest.fixture(autouse=True)
def parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "clplat_broken.py").write_text(PARTS)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("clplat_broken", None)


def complaint(raw: dict[str, Any], folder: Path) -> str:
    with pytest.raises(UserError) as caught:
        run(raw, folder)
    assert "\n" not in str(caught.value) and isinstance(caught.value.__cause__, Exception)
    return str(caught.value)


def test_a_part_that_breaks_while_training_is_named_and_the_run_has_failed(tmp_path: Path) -> None:
    said = complaint({**SMALL, "strategy": {"name": "clplat_broken:Misshapen", "at": 3}}, tmp_path / "run")
    assert "strategy 'clplat_broken:Misshapen' failed: RuntimeError: " in said and "(3x5 and" in said
    result = read_json(tmp_path / "run" / "result.json")
    assert result["status"] == "failed" and result["failure"]["part"] == "strategy 'clplat_broken:Misshapen'"
    assert result["failure"]["experience"] == 1 and result["failure"]["step"] == 3
    assert "torch.ones(3, 5) @ outputs.query" in result["failure"]["traceback"]
    assert (tmp_path / "run" / "error.txt").read_text() == result["failure"]["traceback"]


def test_a_shape_that_does_not_fit_on_the_first_batch_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = complaint({**SMALL, "composer": "clplat_broken:Wrong"}, tmp_path / "run")
    assert "composer 'clplat_broken:Wrong' failed: RuntimeError: " in said and "(3x5 and" in said
    assert "clplat_broken.py, line 29, in forward" in said and "error.txt" in said
    assert "shapes cannot be multiplied" in (tmp_path / "run" / "error.txt").read_text()
    inner = {**SMALL, "composer": {"name": "clplat_broken:Around", "inner": "clplat_broken:Wrong"}}
    assert "composer 'clplat_broken:Wrong' failed" in complaint(inner, tmp_path / "inner")
    words = "run --composer clplat_broken:Wrong --no-track --probes none --scenario.size 16 --out"
    assert main([*words.split(), str(tmp_path / "cli"), "--scenario.domains", "1"]) == 2
    told = capsys.readouterr().err
    assert "Traceback" not in told and "clplat: composer 'clplat_broken:Wrong' failed" in told


def test_what_no_part_raised_is_recorded_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(picture: Any, path: Path) -> None:
        if path.name == "step_1.png":
            raise ZeroDivisionError("a defect of the core")

    monkeypatch.setattr("clplat.runs.experiment.save_picture", broken)
    assert "failed: ZeroDivisionError: a defect of the core" in complaint(SMALL, tmp_path / "run")
    result = read_json(tmp_path / "run" / "result.json")
    assert result["status"] == "failed" and result["failure"]["part"] is None
    monkeypatch.undo()
    monkeypatch.syspath_prepend(tmp_path)
    again = run(SMALL, tmp_path / "run")
    assert again["status"] == "complete" and again["failure"] is None
    assert not (tmp_path / "run" / "error.txt").exists()


def test_what_a_listener_raises_stops_the_run_and_is_no_failure_of_it(tmp_path: Path) -> None:
    class Stop(Exception):
        pass

    class Stopping(Listener):
        def row(self, result: dict[str, Any]) -> None:
            raise Stop

    with pytest.raises(Stop):
        run(SMALL, tmp_path / "run", listener=Stopping())
    assert read_json(tmp_path / "run" / "result.json")["status"] == "running"
