"""PostgreSQL and a gRPC proxy, real ones, as the queue of processes that run the same command at once."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from clplat.addresses import without_password
from clplat.errors import UserError
from clplat.sweep import Budget, Sweep, read_sweep
from clplat.sweep.layout import Layout
from clplat.sweep.queue import Queue
from clplat.sweep.run import run_sweep
from clplat.tuning.storage import open_storage

Begin = Callable[..., "subprocess.Popen[str]"]
PROXY = """
import sys
from pathlib import Path
from optuna.storages import run_grpc_proxy_server
from clplat.tuning.storage import open_storage
run_grpc_proxy_server(open_storage(None, Path(sys.argv[1])), host="127.0.0.1", port=int(sys.argv[2]))
"""
#: A worker that claims a job, says which, and goes no further.
TAKE = """
import json, sys
from pathlib import Path
from clplat.sweep import read_sweep
from clplat.sweep.layout import Layout
from clplat.sweep.queue import Queue
from clplat.tuning.storage import open_storage
plan, out, where = json.loads(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
queue = Queue(Layout(read_sweep(plan)), out, open_storage(where, out))
job = queue.claim()
print(json.dumps([job.folder, job.params]), flush=True)
sys.stdin.read()
"""


def measured(out: Path) -> dict[str, Any]:
    """What a sweep found, without what depends on the clock or on the folder."""
    outcome = json.loads((out / "sweep.json").read_text(encoding="utf-8"))
    keys = ("group", "method", "kind", "label", "n", "settings", "score", "folders")
    return {
        "status": outcome["status"],
        "rows": [{key: row[key] for key in keys if key in row} for row in outcome["rows"]],
        "trials": [[t["params"] for t in study["trials"]] for study in outcome["studies"]],
        "sentence": outcome["sentence"],
    }


@pytest.fixture(scope="module")
def alone(plan: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The same sweep by one worker on the journal."""
    out = tmp_path_factory.mktemp("alone")
    run_sweep(read_sweep(plan), out)
    return measured(out)


@pytest.fixture
def proxy(tmp_path: Path, unused_port: Callable[[], int]) -> Iterator[str]:
    """The address of Optuna's gRPC proxy in front of a journal, served by a process of its own."""
    port = unused_port()
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", PROXY, str(tmp_path / "behind"), str(port)]
    )
    yield f"grpc://127.0.0.1:{port}"
    process.kill()
    process.wait()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["postgresql", "grpc"])
def test_two_commands_share_the_work(
    kind: str, plan: Path, alone: dict[str, Any], tmp_path: Path, begin: Begin, request: pytest.FixtureRequest
) -> None:
    storage = request.getfixturevalue("postgres").made("shared") if kind == "postgresql" else ""
    storage = storage or request.getfixturevalue("proxy")
    out = tmp_path / "sweep"
    words = ("sweep", "--plan", plan, "--out", out, "--storage", storage, "--no-track")
    both = [begin(*words), begin(*words)]
    said = [process.communicate()[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], "\n".join(said)
    done = re.findall(r"^(.+): mean R@5 ", "\n".join(said), re.MULTILINE)
    finals = [f"{name} s{seed}" for name in ("naive", "frozen") for seed in (0, 1)]
    tuned = ["naive (tuned) s0", "naive (tuned) s1"] if "naive (tuned)" in done[-1] else []
    assert sorted(done) == sorted(["naive trial 0", "naive trial 1", *finals, *tuned]), "each once"
    assert measured(out) == alone
    queue = Queue(Layout(read_sweep(plan)), out, open_storage(storage, out))
    assert all(tries[-1].state.name == "COMPLETE" for tries in queue.studies.final_tries().values())
    assert not (out / "studies.journal").exists(), "the storage that was asked for, not the default one"


def test_a_new_database_may_be_opened_by_many_at_once(postgres: Any, tmp_path: Path) -> None:
    where = postgres.made("empty")
    with ThreadPoolExecutor(8) as pool:
        opened = list(pool.map(lambda _: open_storage(where, tmp_path), range(8)))
    assert [storage.get_all_studies() for storage in opened] == [[]] * 8


def test_what_a_killed_worker_held_comes_back(postgres: Any, tmp_path: Path) -> None:
    where = postgres.made("killed")
    sweep = Sweep(methods=["naive"], tune=["train.lr"], seeds=[0], budget=Budget(trials=2))
    code = [sys.executable, "-c", TAKE, json.dumps(sweep.as_dict()), str(tmp_path), where]
    worker = subprocess.Popen(code, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert worker.stdout is not None
    folder, params = json.loads(worker.stdout.readline())
    queue = Queue(Layout(sweep), tmp_path, open_storage(where, tmp_path))
    other = queue.claim()
    assert other is not None and other.folder != folder, "what another worker holds is left to it"
    worker.kill()
    worker.communicate()
    again = queue.claim()
    assert again is not None and (again.folder, again.params) == (folder, params)


@pytest.mark.slow
def test_what_fails_for_good_ends_for_two_commands_too(postgres: Any, tmp_path: Path) -> None:
    """Each call tries a failed run once more; two calls at the same time must not do so without end."""
    where = postgres.made("failing")
    layout = Layout(read_sweep({"methods": ["naive"], "controls": [], "seeds": [0], "orders": 1}))
    queues = [Queue(layout, tmp_path, open_storage(where, tmp_path), session) for session in ("one", "two")]
    tries = 0
    for _ in range(6):
        for queue in queues:
            job = queue.claim()
            if job is not None:
                tries += 1
                queue.failed(job, "it never works")
    assert tries == len(queues)


def test_two_sweeps_in_one_database_do_not_mix(postgres: Any, tmp_path: Path) -> None:
    where = postgres.made("both")
    layout = Layout(read_sweep({"methods": ["naive"], "controls": [], "seeds": [0], "orders": 1}))
    for name in ("a", "b"):  # equal names in different places, as `runs/sweep` of two people
        out = tmp_path / name / "sweep"
        queue = Queue(layout, out, open_storage(where, out))
        job = queue.claim()
        assert job is not None and job.folder == "naive-s0" and queue.claim() is None


def test_errors_are_one_line_without_the_password(
    postgres: Any, tmp_path: Path, unused_port: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    port = unused_port()
    nobody = f"127.0.0.1:{port}"
    here = f"127.0.0.1:{postgres.port}"
    monkeypatch.setitem(sys.modules, "psycopg", None)
    monkeypatch.setattr("clplat.tuning.storage.PATIENCE", 1)  # second, for the proxy that is not there
    cases = {
        f"postgresql://ann:s3cret@{nobody}/optuna": ("cannot be opened", "refused"),
        f"postgresql://locked:s3cret@{here}/postgres": ("cannot be opened", "password authentication failed"),
        f"postgresql://clplat@{here}/s3cret%40?password=s3cret": ("cannot be opened", "does not exist"),
        f"grpc://{nobody}": ("cannot be opened", "timeout"),
        "grpc://127.0.0.1:many": ("cannot be opened", "'many'"),
        f"postgresql+psycopg://ann:s3cret@{nobody}/optuna": ("needs a driver", "clplat[postgres]"),
        f"postgres://ann:s3cret@{nobody}/optuna": ("cannot be opened", "refused"),
        f"postgrsql://ann:s3cret@{nobody}/optuna": ("cannot be opened", "postgrsql"),
        "studies.db": ("postgresql://host/database or grpc://host:port", "'studies.db'"),
    }
    for where, expected in cases.items():
        with pytest.raises(UserError) as raised:
            open_storage(where, tmp_path)
        said = str(raised.value)
        assert "\n" not in said and "ann:" not in said and ":s3cret" not in said, said
        assert all(part in said for part in expected), said
        if "s3cret@" in where:
            assert "s3cret" not in said
    assert without_password("postgresql://db.lab/optuna") == "postgresql://db.lab/optuna"


def test_the_right_password_is_accepted(
    postgres: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also from ``PGPASSFILE``, so that it stands in no command."""
    postgres.made("guarded")
    postgres.sql("guarded", "GRANT CREATE, USAGE ON SCHEMA public TO locked")
    secret = tmp_path / "pgpass"
    secret.write_text(f"127.0.0.1:{postgres.port}:guarded:locked:right\n")
    secret.chmod(0o600)
    monkeypatch.setenv("PGPASSFILE", str(secret))
    assert open_storage(postgres.address("guarded", "locked"), tmp_path).get_all_studies() == []
