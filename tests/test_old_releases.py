"""What release 0.1.0 left on disk still opens; ``fixtures/release_0_1_0/README.md`` says how it was made.

Trained numbers are compared with a tolerance: processors and libraries of linear algebra add in different
orders, so that the last bits of a weight differ, and now and then the order of two pictures that are as near.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import torch

import clplat
from clplat.cli import main
from clplat.config.parse import parse_arguments
from clplat.config.resolve import command_of, completed, resolve
from clplat.events import Listener
from clplat.files import read_json
from clplat.parts.adapters.full import Full
from clplat.runs.assembly import assemble
from clplat.runs.blank import completed_result
from clplat.trees import load_tree

pytestmark = pytest.mark.usefixtures("one_thread")


OLD = Path(__file__).parent / "fixtures" / "release_0_1_0"
SYSTEMS: dict[str, Any] = read_json(OLD / "systems.json")
SAID: dict[str, dict[str, str]] = read_json(OLD / "said.json")
#: Of a result: percentages that follow from the order of pictures.
RANKED = ("metrics", "tags", "baselines", "probes", "compatibility", "scores", "ties")
#: Steps of an experience; the cut runs were killed after the first one of the second.
STEPS = 4
#: Defaults that have changed since: an old configuration names them now.
WORDS = {"ewc": ["--strategy.lam", "10.0"]}


@pytest.fixture
def old(tmp_path: Path) -> Callable[[str], Path]:
    """A copy of something that the release left."""

    def copy(name: str) -> Path:
        shutil.copytree(OLD / name, tmp_path / name)
        return tmp_path / name

    return copy


class Steps(Listener):
    """Counts the optimizer steps of a run."""

    def __init__(self) -> None:
        self.count = 0

    def progress(self, experience: int, done: int, total: int) -> None:
        self.count += 1


def leaves(node: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted path -> value of everything in a tree of plain data, empty nodes included."""
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    if not items or not node:
        yield path, node
    for key, value in items:
        yield from leaves(value, f"{path}.{key}")


def said_today(name: str, command: str) -> str:
    """A command of the release, as it has to be given today."""
    return (
        command.replace(" --train.", f" {' '.join(WORDS.get(name, []))} --train.", 1)
        if name in WORDS
        else command
    )


def same_tree(now: Any, then: Any, **tolerance: float) -> None:
    """Equal keys and words, and numbers that are close."""
    now, then = dict(leaves(now)), dict(leaves(then))
    assert now.keys() == then.keys()
    for path, value in then.items():
        number = isinstance(value, float)
        assert now[path] == (pytest.approx(value, **tolerance) if number else value), path


def same_result(folder: Path, name: str) -> None:
    """A finished run tells what the same run of the release told."""
    now, then = read_json(folder / "result.json"), read_json(OLD / "runs" / name / "result.json")
    then["command"] = said_today(name, then["command"])
    assert (now["schema"], then["schema"]) == (2, 1)
    then = completed_result(then)  # the younger schema holds more, and nothing else
    assert now["measured"].keys() == then["measured"].keys()
    for result in (now, then):
        del result["measured"], result["versions"], result["fingerprints"]["code"]
        result["config"] = completed(result["config"])  # slots that are younger have their defaults
    assert now.keys() == then.keys()
    assert now["chance"] and then["chance"] == {}
    then["chance"] = now["chance"]  # the release did not know it
    then["cost"] = now["cost"] | then["cost"]  # numbers that the release did not know
    before, after = (result["cost"].pop("exemplar_bytes") for result in (then, now))
    assert before <= after <= 1.01 * before  # memories keep the words of their texts now
    ranked = [{key: result.pop(key) for key in RANKED} for result in (now, then)]
    same_tree(now, then, rel=1e-3, abs=1e-4)
    ours, theirs = (dict(leaves(tree)) for tree in ranked)
    assert ours.keys() == theirs.keys()
    other = [path for path, value in theirs.items() if ours[path] != pytest.approx(value, abs=1e-3)]
    assert len(other) <= 0.1 * len(theirs), other
    same_weights(folder, name, version=2)


def same_weights(folder: Path, name: str, version: int) -> None:
    """Each tensor within a thousandth of its length: single numbers go as a processor rounds."""
    ours, theirs = (
        load_tree(where / "versions" / f"{version}.safetensors")["weights"]
        for where in (folder, OLD / "runs" / name)
    )
    assert ours.keys() == theirs.keys()
    for key, value in theirs.items():
        if any(re.search(pattern, key) for pattern in Full.without_effect):
            continue  # its gradient is a rounding error, of which Adam makes whole steps
        gap = torch.linalg.vector_norm((ours[key] - value).double())
        assert gap <= 1e-3 * torch.linalg.vector_norm(value.double()) + 1e-6, key


@pytest.mark.parametrize("name", ["ewc", "replay"])
def test_a_finished_run_is_shown_and_left_as_it_is(
    name: str, old: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = old(f"runs/{name}")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert (
        main(["run", *SYSTEMS[name]["words"], *WORDS.get(name, []), "--out", str(folder), "--no-track"]) == 0
    )
    table = SAID[name]["run"].splitlines()[-3:-1]
    assert capsys.readouterr().out.splitlines()[-3:-1] == table
    after = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != ".lock"}
    assert after == before


@pytest.mark.parametrize("name", ["ewc", "replay"])
def test_an_interrupted_run_goes_on_from_its_checkpoint(name: str, old: Callable[[str], Path]) -> None:
    folder, rest = old(f"cut/{name}"), Steps()
    held = load_tree(folder / "checkpoint.safetensors")
    result = clplat.run(SYSTEMS[name]["config"], folder, listener=rest)
    assert held["position"] == [1, 0, 1] and rest.count == STEPS - 1
    assert result["fingerprints"]["code"] == held["result"]["fingerprints"]["code"]
    (same_until_it_pulls if name == "ewc" else same_result)(folder, name)


@pytest.mark.parametrize("name", ["naive", "ewc", "distill"])
def test_a_run_today_gives_the_numbers_of_the_release(name: str, tmp_path: Path) -> None:
    clplat.run(SYSTEMS[name]["config"], tmp_path / name)
    (same_until_it_pulls if name == "ewc" else same_result)(tmp_path / name, name)


def same_until_it_pulls(folder: Path, name: str) -> None:
    """As `same_result`, up to the second step of the second experience: since then, an anchor's pull is
    a step of its own after the optimizer's, where the release differentiated its penalty."""
    now, then = read_json(folder / "result.json"), read_json(OLD / "runs" / name / "result.json")
    assert now["command"] in (then["command"], said_today(name, then["command"]))
    assert now.keys() >= then.keys()
    assert now["training"].keys() == then["training"].keys()
    for term, values in now["training"].items():
        assert len(values) == 2 * STEPS
        ours, theirs = ([v or 0.0 for v in of[: STEPS + 1]] for of in (values, then["training"][term]))
        assert ours == pytest.approx(theirs, rel=1e-3), term
    assert all(now["training"]["ewc"][STEPS + 1 :]), "and it pulls"
    same_weights(folder, name, version=1)


def test_an_old_feature_store_is_used(
    old: Callable[[str], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    store = old("store")
    monkeypatch.setenv("CLPLAT_CACHE", str(store))
    assert main(["cache", "verify"]) == 0
    assert "all whole" in capsys.readouterr().out
    tables = {path.parent.name: read_json(path) for path in store.rglob("key.json")}
    result = clplat.run(SYSTEMS["replay"]["config"], tmp_path / "replay")
    same_result(tmp_path / "replay", "replay")
    # A key names the libraries that made a row: others make rows of their own.
    made = [library for key in tables.values() for library in key.get("libraries", {}).items()]
    if all(version(name) == number for name, number in made):
        report = result["measured"]["features"]
        assert {tower: report[tower]["encoded"] + report[tower]["live"] for tower in ("image", "text")} == {
            "image": 0,
            "text": 0,
        }
        assert report["bytes_written"] == 0 and report["image"]["reused"] > 0 < report["text"]["reused"]
        assert {path.parent.name for path in store.rglob("key.json")} == tables.keys()


@pytest.mark.parametrize("name", ["ewc", "replay", "deep", "experts", "reservoir"])
def test_search_opens_an_old_model(
    name: str, old: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = old(f"runs/{name}")
    query = ["--reference", "catalogue/16/dress-studio/218057da9b2166", "--text", "is red", "--k", "3"]
    assert main(["search", "--run", str(folder), *query, "--grid", str(tmp_path / "grid.png")]) == 0
    now, then = (found(text) for text in (capsys.readouterr().out, SAID[name]["search"]))
    assert [key for key, _ in now] == [key for key, _ in then]
    assert [cosine for _, cosine in now] == pytest.approx([cosine for _, cosine in then], abs=3e-4)


def found(text: str) -> list[tuple[str, float]]:
    """Key and cosine of each picture in what a search said."""
    lines = [line.split() for line in text.splitlines()]
    return [(words[2], float(words[1])) for words in lines if words[0].isdigit()]


@pytest.mark.parametrize("name", SYSTEMS)
def test_configurations_commands_and_fingerprints(name: str) -> None:
    then = SYSTEMS[name]
    config = resolve(parse_arguments([*then["words"], *WORDS.get(name, [])]))
    command = said_today(name, then["command"])
    assert config.as_dict() == completed(then["config"]) and command_of(config) == command
    assert resolve(parse_arguments(shlex.split(command)[2:])) == config
    parts = assemble(config)
    assert parts.base_fingerprint == then["fingerprints"]["weights"]
    assert parts.scenario.fingerprint() == then["fingerprints"]["data"]


def test_the_same_is_logged_to_mlflow(
    old: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    folder, then = old("runs/ewc"), read_json(OLD / "mlflow.json")
    noted = read_json(folder / "tracking.json")  # of a store that is not here
    assert main(["track", str(folder)]) == 0
    assert noted.keys() == read_json(folder / "tracking.json").keys()
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{folder.parent / 'mlflow.db'}")
    experiment = client.get_experiment_by_name(then["experiment"])
    (run,) = client.search_runs([experiment.experiment_id])
    assert (run.info.run_name, run.info.status) == (then["name"], then["status"])
    assert run.data.params == then["params"]
    told = {
        key: [[point.step, point.value] for point in client.get_metric_history(run.info.run_id, key)]
        for key in run.data.metrics
    }
    assert told.pop("cl/zs_lost") == [[1, 0.0], [2, 0.0]], "a number that the release did not know"
    assert told == then["metrics"]
    own = ("clplat.folder", "clplat.key", "mlflow.note.content")  # of this machine, or prose
    assert {key: run.data.tags[key] for key in then["tags"] if key not in own} == {
        key: value for key, value in then["tags"].items() if key not in own
    }
    for path in then["artifacts"]:
        assert (folder.parent / "mlartifacts/catalogue" / run.info.run_id / "artifacts" / path).exists(), path
    capsys.readouterr()
    assert main(["compare", "--out", str(folder.parent)]) == 0
    assert capsys.readouterr().out.splitlines()[:2] == then["compare"].splitlines()[:2]


def test_a_sweep_is_collected_again_and_repeats_nothing(
    old: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    out = old("sweep")
    before = {path: path.stat().st_mtime_ns for path in out.rglob("result.json")}
    words = ["sweep", "--plan", str(out / "sweep.yaml"), "--out", str(out), "--no-track"]
    assert main(words) == 0
    assert {path: path.stat().st_mtime_ns for path in out.rglob("result.json")} == before
    then, now = read_json(OLD / "sweep" / "sweep.json"), read_json(out / "sweep.json")
    assert now["sentence"] and (out / "report.html").exists()
    for outcome in (now, then):  # libraries of here, prose, and how it was called
        del outcome["versions"], outcome["sentence"], outcome["command"]
    for ours, theirs in zip(now["rows"], then["rows"], strict=True):
        younger = ours["settings"].keys() - theirs["settings"].keys()
        assert younger <= {"strategy.domains", "strategy.combine", "strategy.per"}  # younger than it
        ours["settings"] = {key: ours["settings"][key] for key in theirs["settings"]}
    for row in now["rows"]:  # what the release did not know
        assert row.pop("chance") is None and row.pop("split") == "test"
        for name in ("zero_shot_lost", "transfer", "average"):
            assert row["measures"].pop(name) is not None
        assert row["measures"].pop("router_accuracy") is None  # nothing of it routes
    now["comparisons"] = [c for c in now["comparisons"] if c["family"] != "untrained"]
    same_tree(now, then, rel=1e-6, abs=1e-6)


def test_a_study_goes_on(old: Callable[[str], Path], capsys: pytest.CaptureFixture[str]) -> None:
    out = old("sweep")
    (before,) = read_json(out / "sweep.json")["studies"]
    words = ["sweep", "--plan", str(out / "sweep.yaml"), "--out", str(out), "--no-track", "--trials", "3"]
    assert main(words) in (0, 2)  # 2 where the third setting is the best: the final runs were of another
    (after,) = read_json(out / "sweep.json")["studies"]
    assert json.dumps(after["trials"][:2]) == json.dumps(before["trials"])
    assert [trial["state"] for trial in after["trials"]] == ["complete"] * 3
