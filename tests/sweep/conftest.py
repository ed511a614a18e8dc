"""A real PostgreSQL, a sweep of seconds, and the command line in a process of its own."""

from __future__ import annotations

import glob
import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

#: What makes PostgreSQL fast where nothing must survive a power cut.
FAST = ("fsync=off", "full_page_writes=off", "synchronous_commit=off", "shared_buffers=16MB")


def free_port() -> int:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return int(held.getsockname()[1])


@dataclass(frozen=True)
class Postgres:
    """A server on loopback that trusts everybody but ``locked``, whose password is ``right``."""

    port: int
    run: Callable[..., None]

    def address(self, database: str, user: str = "clplat") -> str:
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"

    def made(self, database: str) -> str:
        """The address of a new, empty database."""
        self.run("createdb", "-h", "127.0.0.1", "-p", str(self.port), "-U", "clplat", database)
        return self.address(database)

    def sql(self, database: str, text: str) -> None:
        self.run("psql", "-h", "127.0.0.1", "-p", str(self.port), "-U", "clplat", "-q", "-c", text, database)


def _programs() -> Path | None:
    """The newest folder with the programs of a PostgreSQL server; Debian keeps them out of PATH."""
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin/initdb"))
    here = shutil.which("initdb") or (found[-1] if found else None)
    return None if here is None else Path(here).resolve().parent


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    programs = _programs()
    if programs is None:
        pytest.skip("PostgreSQL is not installed: no initdb in PATH or /usr/lib/postgresql/*/bin")
    pytest.importorskip("psycopg2")
    user: dict[str, Any] = {}
    # Outside of pytest's folders, which only their owner may enter: the server refuses to be root.
    folder = Path(tempfile.mkdtemp(prefix="clplat-postgres-"))
    if os.geteuid() == 0:
        names = {entry.pw_name: entry for entry in pwd.getpwall()}
        owner = names.get("postgres") or names["nobody"]
        os.chown(folder, owner.pw_uid, owner.pw_gid)
        user = {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []}

    def run(program: str, *words: str) -> None:
        done = subprocess.run(
            [str(programs / program), *words], cwd=folder, capture_output=True, text=True, **user
        )
        assert done.returncode == 0, f"{program}: {done.stdout}{done.stderr}"

    data, port = folder / "data", free_port()
    run("initdb", "-D", str(data), "-U", "clplat", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync")
    options = [f"-c {entry}" for entry in (*FAST, "listen_addresses=127.0.0.1")]
    rules = data / "pg_hba.conf"
    rules.write_text("host all locked 127.0.0.1/32 scram-sha-256\n" + rules.read_text())
    words = " ".join([f"-p {port}", f"-k {folder}", *options])
    run("pg_ctl", "-D", str(data), "-w", "-l", str(folder / "log"), "-o", words, "start")
    try:
        server = Postgres(port, run)
        server.sql("postgres", "CREATE ROLE locked LOGIN PASSWORD 'right'")
        yield server
    finally:
        run("pg_ctl", "-D", str(data), "-m", "immediate", "stop")
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def plan(tmp_path_factory: pytest.TempPathFactory, small_backbone: Path) -> Path:
    return _written(tmp_path_factory.mktemp("plans") / "tuned.yaml", small_backbone, budget={"trials": 2})


@pytest.fixture(scope="session")
def short_plan(tmp_path_factory: pytest.TempPathFactory, small_backbone: Path) -> Path:
    """Without tuning: four final runs."""
    return _written(tmp_path_factory.mktemp("plans") / "plain.yaml", small_backbone)


def _written(path: Path, backbone: Path, **more: Any) -> Path:
    """A sweep of one method and one control with two seeds, about a second a run."""
    sizes = {"domains": 2, "train": 16, "queries": 10, "gallery": 20, "size": 16}
    base = {
        "scenario": {"name": "catalogue", **sizes},
        "backbone": f"local-dir:{backbone}",
        "train": {"epochs": 1, "batch_size": 8},
    }
    sweep = {
        "methods": ["naive"],
        "controls": ["frozen"],
        "tune": ["train.lr"],
        "seeds": [0, 1],
        "orders": 1,
    }
    path.write_text(yaml.safe_dump({"base": base, **sweep, **more}), encoding="utf-8")
    return path


@pytest.fixture
def begin() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start ``clplat`` in a process of its own, as on another machine that sees the same folders."""
    begun: list[subprocess.Popen[str]] = []

    def start(*words: object, **environment: str) -> subprocess.Popen[str]:
        held = {key: value for key, value in os.environ.items() if key != "MLFLOW_TRACKING_URI"}
        process = subprocess.Popen(
            [sys.executable, "-m", "clplat", *map(str, words)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=held | {"OMP_NUM_THREADS": "1", "NO_COLOR": "1"} | environment,
        )
        begun.append(process)
        return process

    yield start
    for process in begun:
        process.kill()
        process.wait()


@pytest.fixture(scope="session")
def unused_port() -> Callable[[], int]:
    return free_port


@pytest.fixture(scope="session")
def result_of() -> Callable[..., dict[str, Any]]:
    """A complete result of a configuration on two domains, as a run leaves it, without a run."""

    def made(config: dict[str, Any], score: float = 30.0, **changes: Any) -> dict[str, Any]:
        held = {
            "schema": 2,
            "status": "complete",
            "name": "a run",
            "config": config,
            "domains": ["a", "b"],
            "protocol": {"primary": "R@5", "ks": [5], "name": "plain"},
            "metrics": {"R@5": [[10.0, 10.0], [20.0, 10.0], [score, score]]},
            "scores": [{}, {}, {"forgetting_max": 1.0, "plasticity": 50.0}],
            "fingerprints": {"data": "d", "weights": "w", "code": "c", "queries": "q"},
            "cost": {"training_flops": 1e12, "trainable_parameters": 10},
            "measured": {"train_seconds": 2.0, "evaluation_seconds": 0.0},
            "training": {},
            "failure": None,
        }
        return {**held, **changes}

    return made


@pytest.fixture(scope="session")
def leave() -> Callable[[Path, dict[str, Any]], None]:
    """Write what a run with this result leaves in its folder, as far as a sweep reads it."""
    import torch

    from clplat.config.reading import write_yaml
    from clplat.files import write_json, write_text
    from clplat.trees import save_tree

    def written(folder: Path, result: dict[str, Any]) -> None:
        write_text(folder / "config.yaml", write_yaml(result["config"]), comment="#")
        write_json(folder / "result.json", result)
        values = {name: torch.arange(4) / 4 for name in result["domains"]}
        save_tree(folder / "values" / f"{len(result['scores']) - 1}.safetensors", values)

    return written
