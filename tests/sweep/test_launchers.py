"""Ray for real; submitit for real on this machine, and with programs that stand for those of SLURM."""

from __future__ import annotations

import json
import os
import pickle
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clplat.errors import UserError
from clplat.sweep import Sweep, read_sweep
from clplat.sweep.launchers import launch
from clplat.sweep.run import run_sweep
from clplat.sweep.worker_spec import WorkerSpec, threads_per_worker

#: What SLURM's programs do for a job array of submitit, and no more: each job is a process of this machine.
SBATCH = """#!{python}
import os, re, subprocess, sys
script = open(sys.argv[1]).read()
open(os.environ["FAKE_SLURM"] + "/script.sh", "w").write(script)
last = int(re.search(r"--array=0-(\\d+)", script).group(1))
for task in range(last + 1):
    environment = os.environ | {{
        "SLURM_JOB_ID": f"7{{task}}", "SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": str(task),
        "SLURM_NTASKS": "1", "SLURM_JOB_NUM_NODES": "1", "SLURM_NODEID": "0", "SLURM_PROCID": "0",
        "SLURM_LOCALID": "0",
    }}
    quiet = {{"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}}
    subprocess.Popen(["bash", sys.argv[1]], env=environment, **quiet)
print("Submitted batch job 7")
"""
SRUN = """#!{python}
import os, subprocess, sys, time
words = sys.argv[1:]
task = os.environ["SLURM_ARRAY_TASK_ID"]
files = {{}}
while words and words[0].startswith("-"):
    name = words.pop(0)
    if name in ("--output", "--error"):
        path = words.pop(0).replace("%A", "7").replace("%a", task).replace("%t", "0")
        while not os.path.isdir(os.path.dirname(path)):
            time.sleep(0.1)  # a real queue is slower than submitit, which makes it after sbatch
        files[name] = open(path, "a")
sys.exit(subprocess.call(words, stdout=files["--output"], stderr=files["--error"]))
"""
SACCT = """#!{python}
print("JobID|State|NodeList")
for task in range(2):
    print(f"7_{{task}}|RUNNING|here")
"""


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder first in PATH with programs of SLURM's names; what was submitted is in its ``script.sh``."""
    folder = tmp_path / "slurm"
    folder.mkdir()
    for name, text in {"sbatch": SBATCH, "srun": SRUN, "sacct": SACCT}.items():
        (folder / name).write_text(text.format(python=sys.executable))
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_SLURM", str(folder))
    return folder


@pytest.fixture(autouse=True)
def one_core(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.delenv("CLPLAT_SLURM", raising=False)


def rows(outcome: dict[str, Any]) -> list[tuple[str, int]]:
    assert outcome["status"] == "complete" and not outcome["failures"], outcome
    return [(row["label"], row["n"]) for row in outcome["rows"]]


def called(name: str, out: Path, plan: Path | Sweep, workers: int = 1) -> list[str]:
    """What the launcher says when workers serve a sweep."""
    said: list[str] = []
    sweep = plan if isinstance(plan, Sweep) else read_sweep(plan)
    launch(name, WorkerSpec(sweep, out, workers=workers, threads=1), said.append)
    return said


@pytest.mark.slow
def test_slurm_without_a_cluster_works_here(
    short_plan: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    outcome = run_sweep(read_sweep(short_plan), tmp_path, workers=2, launcher="slurm")
    assert rows(outcome) == [("frozen", 2), ("naive", 2)] or rows(outcome) == [("naive", 2), ("frozen", 2)]
    assert "2 processes, as there is no SLURM here; logs in" in capfd.readouterr().out
    logs = "".join(path.read_text() for path in (tmp_path / ".slurm").glob("*/*_log.out"))
    assert sorted(re.findall(r"^(\w+ s\d): mean", logs, re.MULTILINE)) == sorted(
        f"{name} s{seed}" for name in ("frozen", "naive") for seed in (0, 1)
    )


@pytest.mark.slow
def test_a_job_array_asks_for_what_the_file_says(
    slurm: Path, short_plan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs = tmp_path / "slurm.yaml"
    needs.write_text("slurm_partition: gpu\ntimeout_min: 90\nmem_gb: 12\nslurm_account: vision\n")
    monkeypatch.setenv("CLPLAT_SLURM", str(needs))
    out = tmp_path / "sweep"
    said = called("slurm", out, short_plan, workers=2)
    assert said == [f"2 jobs of SLURM; logs in {out / '.slurm'}"]
    script = (slurm / "script.sh").read_text()
    for line in ("partition=gpu", "time=90", "mem=12GB", "account=vision", "cpus-per-task=4", "array=0-1%2"):
        assert f"#SBATCH --{line}" in script, script
    done = [json.loads(path.read_text())["status"] for path in sorted(out.glob("*-s?/result.json"))]
    assert done == ["complete"] * 4


def test_no_pickle_holds_the_address_of_the_storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """submitit leaves its pickles in the folder of the sweep, for everyone who reads that."""
    from clplat.sweep.launchers import slurm

    address = "postgresql://ann:s3cret@db.lab/optuna"
    pickled: list[tuple[bytes, str | None]] = []

    class Executor:
        def __init__(self, **options: Any) -> None: ...
        def update_parameters(self, **needs: Any) -> None: ...
        def map_array(self, work: Any, specs: list[WorkerSpec]) -> list[Any]:
            pickled.append((pickle.dumps((work, specs)), os.environ.get(slurm.STORAGE)))
            return []

    monkeypatch.setattr(slurm.submitit, "AutoExecutor", Executor)
    launch("slurm", WorkerSpec(Sweep(), tmp_path, address, workers=2), lambda line: None)
    content, given = pickled[0]
    assert b"s3cret" not in content and given == address and slurm.STORAGE not in os.environ
    work, (spec, _) = pickle.loads(content)
    with pytest.raises(UserError, match="no CLPLAT_STORAGE, the address of the sweep's storage"):
        work(spec)
    used: list[WorkerSpec] = []
    monkeypatch.setattr(slurm, "run_unattended_worker", used.append)
    monkeypatch.setenv(slurm.STORAGE, address)
    work(spec)
    assert used[0].storage == address


def test_a_job_that_fails_is_reported_with_its_log(
    short_plan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLPLAT_SLURM", "local")
    (tmp_path / "studies.journal.lock").mkdir()
    with pytest.raises(
        UserError, match=r"no job of the sweep could work: .*directory.* \(log: .*\.err\)"
    ) as error:
        called("slurm", tmp_path, short_plan)
    log = re.search(r"log: (.*)\)", str(error.value))
    assert log and "IsADirectoryError" in Path(log.group(1)).read_text()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, "cannot be read: .*No such file"),
        ("partitoin: gpu", "cannot be used as .* says: .*partitoin"),
        ("mem_gb: plenty", "cannot be used as .* says: .*mem_gb"),
        ("- gpu", "is no YAML mapping such as 'slurm_partition: gpu'"),
    ],
)
def test_a_wrong_file_is_one_line(
    text: str | None, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs = tmp_path / "slurm.yaml"
    if text is not None:
        needs.write_text(text)
    monkeypatch.setenv("CLPLAT_SLURM", str(needs))
    with pytest.raises(UserError, match=expected) as error:
        called("slurm", tmp_path / "out", Sweep())
    assert "\n" not in str(error.value)


@pytest.mark.slow
def test_ray_runs_a_sweep_and_stops_its_cluster(
    short_plan: Path, tmp_path: Path, begin: Callable[..., Any]
) -> None:
    words = ("--plan", short_plan, "--out", tmp_path / "sweep", "--no-track")
    process = begin("sweep", *words, "--launcher", "ray", "--workers", 2)
    said = process.communicate()[0]
    assert process.returncode == 0, said
    done = re.findall(r"^\(worker pid=\d+\) (\w+ s\d): mean", said, re.MULTILINE)
    assert sorted(done) == sorted(f"{name} s{seed}" for name in ("frozen", "naive") for seed in (0, 1)), said
    assert rows(json.loads((tmp_path / "sweep" / "sweep.json").read_text()))
    assert "Traceback" not in said and "\x1b" not in said


def test_a_ray_cluster_that_is_not_there_is_one_line(
    tmp_path: Path, unused_port: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "far away")
    with pytest.raises(UserError, match="no Ray cluster at RAY_ADDRESS=far away") as error:
        called("ray", tmp_path, Sweep())
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("workers", "limit", "threads"),
    [(1, "", 8), (3, "", 2), (3, "1", 1), (3, "4", 2), (20, "", 1), (1, "no", 8)],
)
def test_cores_are_divided(workers: int, limit: str, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", limit)
    assert threads_per_worker(workers) == threads
