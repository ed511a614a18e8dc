"""Probes in a run: groups, what stands in for what, older versions, gradients."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from clplat.errors import UserError
from clplat.measures import zero_shot_series
from clplat.parts import ModelView, Probe
from clplat.runs.experiment import run


class Looking(Probe):
    """Looks at the model with everything that a view has."""

    name = "looking"
    group = "robustness"
    headline = "slope"
    unit = "number"

    def measure(self, view: ModelView) -> dict[str, float]:
        name, held = next(iter(view.sets.items()))
        pictures, texts = held.gallery.pictures[:2], ["a red dress"]
        pixels = view.inputs(pictures).pixels.float().requires_grad_()
        shown = view.encoder.backbone.image(pixels).pooled
        said = view.texts(texts, raw=True)
        (slope,) = torch.autograd.grad((shown @ said.T).sum(), [pixels])
        now, first = view.images(pictures), view.older(0).images(pictures)
        kept = view.older(0).galleries[held.gallery.name][:2]
        raw = torch.nn.functional.normalize(view.images(pictures, raw=True), dim=1)
        return {
            "slope": float(slope.abs().sum()),
            "moved": float((now - first).abs().max()),
            "loaded apart": float((first - kept).abs().max()),
            "raw apart": float((raw - now).abs().max()),
            "asked apart": float((view.queries(held.queries) - view.asked[name]).abs().max()),
            "version": float(view.version),
        }


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory, small_backbone: Path) -> list[dict[str, Any]]:
    sizes = {"domains": 1, "train": 32, "queries": 20, "gallery": 20, "size": 16}
    config = {
        "backbone": f"local-dir:{small_backbone}",
        "scenario": {"name": "catalogue", **sizes},
        "strategy": "naive",
        "train": {"epochs": 1, "batch_size": 16},
    }
    several = {
        "name": f"catalogue,geometry,negation,{__name__}:Looking",
        "negation": {"count": 6, "size": 16},
    }
    folder = tmp_path_factory.mktemp("probed")
    return [run(config, folder / "plain"), run({**config, "probes": several}, folder / "probed")]


def test_other_groups_leave_the_scores_alone(results: list[dict[str, Any]]) -> None:
    plain, probed = results
    assert list(plain["probes"]) == ["general-retrieval", "general-classification"]
    assert list(probed["probes"])[:3] == [*plain["probes"], "geometry"], "the scenario has its own"
    assert plain["scores"] == probed["scores"] and plain["metrics"] == probed["metrics"]
    assert zero_shot_series(probed) == [
        plain["probes"]["general-retrieval"]["R@1"],
        plain["probes"]["general-classification"]["accuracy"],
    ]
    about = {"group": "geometry", "headline": "hubness", "better": "lower", "unit": "number"}
    assert probed["probes_about"]["geometry"] == about
    assert all(len(rows) == 2 for found in probed["probes"].values() for rows in found.values())


def test_a_view_shows_the_model_and_its_past(results: list[dict[str, Any]]) -> None:
    found = results[1]["probes"]["looking"]
    assert found["version"] == [0, 1] and min(found["slope"]) > 0
    assert found["moved"][0] == 0 < found["moved"][1], "an older version is loaded"
    for name in ("loaded apart", "raw apart", "asked apart"):
        assert max(found[name]) < 1e-5, name


def test_results_from_before_there_were_groups_are_read() -> None:
    old = {"probes": {"a": {"R@1": [1.0], "i2t R@1": [2.0]}, "b": {"accuracy": [3.0]}}}
    assert zero_shot_series(old) == [[1.0], [3.0]]


class Unknown(Probe):
    """Belongs to no group."""

    name = "unknown"
    group = "geometri"  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("probes", "message"),
    [
        (f"{__name__}:Unknown", "unknown group of probe 'unknown' 'geometri'; did you mean 'geometry'"),
        ("negation,negation", "twice"),
    ],
)
def test_what_is_no_probe_is_refused(probes: str, message: str, tmp_path: Path, small_backbone: Path) -> None:
    sizes = {"domains": 1, "train": 32, "queries": 20, "gallery": 20, "size": 16}
    config = {"backbone": f"local-dir:{small_backbone}", "scenario": {"name": "catalogue", **sizes}}
    with pytest.raises(UserError, match=message):
        run({**config, "probes": probes}, tmp_path / "run")
