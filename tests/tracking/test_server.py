"""A real MLflow server on the loopback interface: logging over HTTP, links, saved views, a browser."""

from __future__ import annotations

import base64
import json
import re
import shutil
import socket
import subprocess
import sys
import urllib.request
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from clplat.cli import main
from clplat.errors import UserError
from clplat.tracking import Tracker, comparison, from_results, leaderboard_link, links, serve
from clplat.tracking.server import free_port
from clplat.tracking.store import open_client
from clplat.tracking.views import TAG, VIEWS, tuning_state, view_states, write_views

Make = Callable[..., dict[str, Any]]
HOME, EWC = "home", "tag.clplat.label.ewc"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def test_results_over_http(
    live: Any, tmp_path: Path, make_result: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", live.url)
    results = [make_result(name, 0, scenario="http") for name in ("replay", "naive")]
    tracker = Tracker(tmp_path)
    for result in results:
        folder = tmp_path / result["name"]
        folder.mkdir()
        tracker.log(make_result(result["config"]["strategy"]["name"], 0, scenario="http", rows=2), folder)
        run_id = tracker.log(result, folder)
        client = open_client(live.url)
        assert len(client.get_metric_history(run_id, "cl/R5")) == 5
        assert {item.path for item in client.list_artifacts(run_id)} == {
            "config",
            "figures",
            "result.json",
            "tables",
        }
    assert comparison(tmp_path, "http") == from_results(results)
    found = links(tmp_path)
    assert found["http: Leaderboard"].startswith(f"{live.url}/#/experiments/")
    said: list[str] = []
    assert serve(tmp_path, say=said.append) == 0  # a server that runs already: nothing to start
    assert any("viewStateShareKey=leaderboard" in line for line in said)


@pytest.fixture(scope="module")
def shown(live: Any, tmp_path_factory: pytest.TempPathFactory, make_result: Make) -> dict[str, str]:
    """Links to the views of an experiment of two methods, two seeds each, and of a study's trials."""
    root = tmp_path_factory.mktemp("shown")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", live.url)
        tracker, trials = Tracker(root), Tracker(root, level="trial")
        for name in ("replay", "ewc"):
            for seed in (0, 1):
                result = make_result(name, seed, scenario="browser")
                folder = root / result["name"]
                (folder / "grids").mkdir(parents=True)
                Image.new("RGB", (400, 300), "teal").save(folder / "grids" / "step_4.png")
                assert tracker.log(result, folder)
        for name, option in (("ewc", "lam"), ("replay", "size")):
            for number in range(3):
                drawn = {"strategy": {"name": name, option: 10.0**number}}
                result = make_result(name, number, scenario="browser", extra=drawn)
                result["protocol"]["split"] = "val"
                assert trials.log(result, root / f"{name}-trial-{number}")
        studies = {"ewc": ["strategy.lam"], "replay": ["strategy.size"]}
        trials.write_tuning_view("browser", "R@5", studies)
        return links(root) | {f"browser: {HOME}": live.url}


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed (apt-get install chromium)")
@pytest.mark.parametrize(
    ("view", "words"),
    [
        (HOME, ["clplat/browser", "Model registry"]),
        ("leaderboard", ["Group: replay", "Group: ewc", "replay s1", "mean R@5", "zero-shot kept (%)"]),
        pytest.param(
            *("tradeoff", ["Trade-off", "One by one", "replay s1", "js-plotly-plot", "forgetting (points)"]),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            *("curves", ["Whole stream", "Domain by domain", "js-plotly-plot", "replay s1"]),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            *("bands", ["Whole stream", "js-plotly-plot", "Group: replay", "Group: ewc"]),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            *("grids", ["The same queries after each domain", "replay s1", "retrieval_grid", "<img"]),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "tuning",
            ["ewc: trials, on the validation split", "replay: trials", "strategy.lam", "tune/replay"],
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_link_opens_on_the_answer(
    view: str, words: list[str], shown: dict[str, str], tmp_path: Path
) -> None:
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--dump-dom"]
    flags += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
    flags += [f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1600,2400"]
    link = shown[f"browser: {VIEWS.get(view, view)}"]
    command = [str(CHROMIUM), *flags, "--virtual-time-budget=40000", link]
    page = subprocess.run(command, capture_output=True, text=True).stdout
    assert [word for word in words if word not in page] == []
    unwanted = ["Information about UI telemetry", "Ask questions about your", "No charts in this section"]
    assert [word for word in unwanted if word in page] == []


def test_the_page_knows_the_colours_of_groups(live: Any, shown: dict[str, str]) -> None:
    with urllib.request.urlopen(f"{live.url}/") as answer:
        page = answer.read().decode()
    known = json.JSONDecoder().raw_decode(page, page.index("const clplat = ") + len("const clplat = "))[0]
    colours = {
        key: value for key, value in known["colours"].items() if key in (EWC, EWC.replace("ewc", "replay"))
    }
    assert colours == {EWC: "#009e73", EWC.replace("ewc", "replay"): "#0072b2"}
    assert known["words"]["cl/zs"] == "zero-shot kept (%)"
    assert page.index("<script>") < page.index("static-files")  # before MLflow's own


def read_view(client: Any, experiment: str, key: str) -> dict[str, Any] | None:
    """The stored view with its packed state, or None."""
    text = client.get_experiment(experiment).tags.get(TAG + key)
    return None if text is None else json.loads(text)


def unpacked(view: dict[str, Any]) -> bytes:
    return zlib.decompress(base64.b64decode(view["state"].removeprefix("deflate;")))


def test_views_come_back_as_written(root: Path, make_result: Make) -> None:
    client = open_client(f"sqlite:///{root / 'mlflow.db'}")
    experiment = client.create_experiment("clplat/views")
    states = view_states("R5", ["shoes", "lamps"]) | {"tuning": tuning_state("R5", {"ewc": ["strategy.lam"]})}
    write_views(client, experiment, states)
    assert set(states) | {"queries"} == set(VIEWS)
    for key, state in states.items():
        view = read_view(client, experiment, key)
        assert view is not None
        assert view["name"] == VIEWS[key]
        assert json.loads(unpacked(view)) == state
        sections = {section["uuid"] for section in state["compareRunSections"]}
        assert {chart["metricSectionId"] for chart in state["compareRunCharts"]} == sections
    before = read_view(client, experiment, "curves")
    write_views(client, experiment, states)
    assert read_view(client, experiment, "curves") == before
    client.set_experiment_tag(experiment, TAG + "curves", "{nonsense")
    write_views(client, experiment, view_states("R10", ["shoes"]))
    assert read_view(client, experiment, "curves") != before


def test_only_methods_of_several_seeds_are_grouped(root: Path, make_result: Make) -> None:
    def grouped() -> dict[str, bool]:
        client = open_client(f"sqlite:///{root / 'mlflow.db'}")
        views = {key: read_view(client, experiment, key) for key in ("leaderboard", "bands")}
        states = {key: json.loads(unpacked(view)) for key, view in views.items() if view}
        return {key: state["groupBy"] is not None for key, state in states.items()}

    tracker = Tracker(root)
    for name in ("replay", "ewc"):
        tracker.log(make_result(name, 0), root / name)
    experiment = tracker.experiment("catalogue")
    assert grouped() == {"leaderboard": False}
    tracker.log(make_result("ewc", 1), root / "second")
    assert grouped() == {"leaderboard": True, "bands": True}


def test_the_profile_asks_for_what_there_is_and_cards_for_one_method(root: Path, make_result: Make) -> None:
    (card,) = view_states("R5", ["shoes"], known=["cl/R5", "cl/sec", "cl/forget"])["profile"][
        "compareRunCharts"
    ]
    assert (card["selectedParams"], card["selectedMetrics"]) == (["strategy"], ["cl/R5", "cl/forget"])
    state = tuning_state("R5", {"ewc": ["strategy.lam"], "naive (long)": ["train.lr"]})
    asked = [(card["selectedParams"], card["selectedMetrics"]) for card in state["compareRunCharts"]]
    assert asked == [(["strategy.lam"], ["tune/ewc"]), (["train.lr"], ["tune/naive _long_"])]
    result = make_result("naive", 0)
    run_id = Tracker(root, level="trial", label="naive (long)").log(result, root / "trial")
    metrics = open_client(f"sqlite:///{root / 'mlflow.db'}").get_run(str(run_id)).data.metrics
    assert metrics["tune/naive _long_"] == metrics["cl/R5"]


def test_views_of_a_long_stream_fit_the_tag(root: Path) -> None:
    client = open_client(f"sqlite:///{root / 'mlflow.db'}")
    experiment = client.create_experiment("clplat/long")
    write_views(client, experiment, view_states("R5", [f"domain number {i} of a stream" for i in range(100)]))
    assert read_view(client, experiment, "curves") is not None
    tags = client.get_experiment(experiment).tags
    assert all(len(json.dumps(value)) < 20_000 for value in tags.values())


def test_a_failing_view_costs_only_the_view(
    root: Path, make_result: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("views changed")

    monkeypatch.setattr("clplat.tracking.views.write_views", refuse)
    said: list[str] = []
    assert Tracker(root, warn=said.append).log(make_result(), root / "run") is not None
    assert "views changed" in said[0]


def test_links_without_a_server(
    root: Path, tmp_path_factory: pytest.TempPathFactory, make_result: Make
) -> None:
    assert links(tmp_path_factory.mktemp("empty")) == {}
    Tracker(root).log(make_result(rows=1), root / "run")
    address = "http://127.0.0.1:5123"
    assert links(root, 5123) == {
        f"catalogue: {VIEWS[key]}": leaderboard_link(address, "1", key)
        for key in VIEWS
        if key not in ("tuning", "queries", "bands")  # of studies, sweeps, several seeds
    }
    Tracker(root).write_tuning_view("catalogue", "R@5", {"replay": ["strategy.size"]})
    assert "catalogue: Tuning" in links(root)


def test_links_of_a_dead_server_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    assert links(tmp_path) == {}


def test_a_taken_port_gives_another() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert free_port(port) != port
    assert free_port(port) == port


def test_a_server_that_dies_at_once_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clplat.tracking.server._command", lambda *_: ["false"])
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(UserError, match=r"stopped at once.*mlflow-server\.log"):
        serve(tmp_path, 0)


def test_a_link_is_opened_where_that_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    monkeypatch.setattr(
        "clplat.tracking.server.links", lambda *_: {"a: Leaderboard": "http://a", "b": "http://b"}
    )
    opened: list[str] = []
    assert serve(tmp_path, say=lambda _: None) == 0 and opened == []
    assert serve(tmp_path, say=lambda _: None, show=opened.append) == 0 and opened == ["http://a"]


def test_another_port_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clplat.tracking.server._command", lambda *_: ["false"])
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    said: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(UserError):
        serve(tmp_path, port := taken.getsockname()[1], say=said.append)
    assert said[0].startswith(f"port {port} is taken; this is port ")


def test_ui_on_a_taken_port_says_which_it_has_and_shows_links_to_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As well where the port was asked for: what it has stands in the first line, and in every link."""
    alive = (  # answers the first request, and ends
        "import http.server as h, sys; H = h.BaseHTTPRequestHandler; "
        "H.do_GET = lambda self: (self.send_response(200), self.end_headers()); "
        "h.HTTPServer(('127.0.0.1', int(sys.argv[1])), H).handle_request()"
    )
    monkeypatch.setattr(
        "clplat.tracking.server._command", lambda _, port: [sys.executable, "-c", alive, str(port)]
    )
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["ui", "--out", str(tmp_path), "--port", str(port)]) == 0
    said = capsys.readouterr().out.splitlines()
    found = re.fullmatch(rf"port {port} is taken; this is port (\d+)", said[0])
    assert found and found[1] != str(port)
    assert said[1:] == [
        f"no runs are tracked yet; they will appear at http://127.0.0.1:{found[1]}",
        "Ctrl-C stops the server.",
    ]
