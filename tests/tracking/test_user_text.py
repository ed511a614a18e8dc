"""Names that users gave, of domains say, are cleaned like those of metrics, and no run is left RUNNING."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clplat.files import write_json
from clplat.tracking.store import open_client, tracking_uri
from clplat.tracking.tracker import Tracker

Make = Callable[..., dict[str, Any]]
NAMES = ["Kleider (rot)", "Kleider [rot]", "sale, 50%", "été/hiver", "..", 'a: b = "c"']


def logged(root: Path, result: dict[str, Any], said: list[str]) -> Any:
    """The run of a result in the store."""
    folder = root / "run"
    write_json(folder / "result.json", result)
    Tracker(root, warn=said.append).log(result, folder)
    client = open_client(tracking_uri(root))
    (experiment,) = client.search_experiments(filter_string="name LIKE 'clplat/%'")
    (run,) = client.search_runs([experiment.experiment_id])
    return run


def test_a_domain_of_any_name_is_logged(root: Path, make_result: Make) -> None:
    words = {name: f"a picture of {name}" for name in NAMES}
    scenario = {"name": "domain_folders", "words": words}
    result = make_result("naive", domains=NAMES, extra={"scenario": scenario})
    said: list[str] = []
    run = logged(root, result, said)
    assert said == [] and run.info.status == "FINISHED"
    kept = {key: value for key, value in run.data.params.items() if key.startswith("scenario.words")}
    assert kept["scenario.words.Kleider _rot_"] == "a picture of Kleider (rot)"
    assert sorted(kept.values()) == sorted(words.values()), "no two names became one"
    assert sum(key.startswith("R5/") for key in run.data.metrics) == len(NAMES)


@pytest.mark.parametrize("what", ["log_batch", "log_inputs", "create_logged_model", "set_tag"])
def test_a_run_whose_record_is_refused_still_ends(
    what: str, root: Path, make_result: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow.tracking import MlflowClient

    (root / "run" / "versions").mkdir(parents=True)
    (root / "run" / "versions" / "1.safetensors").write_bytes(b"")

    def refuses(*_: Any, **__: Any) -> None:
        raise ValueError("not a name that I take")

    said: list[str] = []
    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, what, refuses)
        run = logged(root, make_result("naive"), said)
    assert all("not a name that I take" in line for line in said) and len(said) <= 1
    assert run.info.status == "FINISHED"
