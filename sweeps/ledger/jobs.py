"""The runs behind the ledger: a system on a stream with one seed and one stream order, each in its folder."""

from __future__ import annotations

import os
import shutil
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clplat.config.raw import merge
from clplat.config.resolve import resolve
from clplat.config.resolved import Config
from clplat.errors import UserError
from clplat.files import read_json, write_json
from clplat.runs.run_folder import CONFIG, RESULT
from clplat.sweep import Sweep
from clplat.sweep.layout import FinalRun, Layout
from sweeps.ledger.fingerprints import fingerprint
from sweeps.ledger.rates import Kind
from sweeps.ledger.systems import System

__all__ = ["Job", "Stream", "jobs_of", "laid_out", "perform", "state_of"]


@dataclass(frozen=True)
class Stream:
    """What all systems are measured on.

    Args:
        name: one word.
        about: for the page: which data.
        base: raw configuration of every run.
        orders: of its domains.
        strategy: options of every strategy that has them.
        rates: learning rate of each kind of what is trained, for systems that name none.
    """

    name: str
    about: str
    base: Mapping[str, Any]
    orders: Sequence[Sequence[str]]
    strategy: Mapping[str, Any] = field(default_factory=dict)
    rates: Mapping[Kind, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Job:
    """One run: plain data, which crosses processes.

    Args:
        label: on screen.
        folder: of the run; what is known of it stands beside it, in ``<folder>.json``.
        config: resolved.
        fingerprint: of the configuration and of the code of its parts.
    """

    label: str
    folder: Path
    config: Config
    fingerprint: str

    @property
    def record(self) -> Path:
        return self.folder.with_name(f"{self.folder.name}.json")


def laid_out(stream: Stream, system: System, seeds: Sequence[int]) -> tuple[Layout, list[FinalRun]]:
    """The replicates of a system: seed i with order i modulo their number.

    Raises:
        UserError: a wrong name or value in its configuration.
    """
    own = _options(stream.strategy, resolve(merge(stream.base, system.raw)).as_dict()["strategy"])
    rate = stream.rates.get(system.trains)
    raw = merge({"train": {"lr": rate}} if rate else {}, system.raw)
    raw = merge(raw, {"strategy": own} if own else {})
    layout = Layout(
        Sweep(base=stream.base, methods={system.name: raw}, controls=(), seeds=seeds, orders=stream.orders)
    )
    return layout, layout.finals(layout.entries[0], "default", {})


def _options(given: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    """Those of ``given`` that a strategy has, or each of several."""
    found = {key: value for key, value in given.items() if key in known}
    inside = {name: _options(given, part) for name, part in known.items() if isinstance(part, Mapping)}
    return found | {name: own for name, own in inside.items() if own}


def jobs_of(layout: Layout, finals: Sequence[FinalRun], out: Path) -> list[Job]:
    """The runs of a system in ``out``, folder of the stream."""
    configs = [layout.final_config(final) for final in finals]
    return [
        Job(final.run_label, out / final.folder, config, fingerprint(config))
        for final, config in zip(finals, configs, strict=True)
    ]


def state_of(job: Job) -> dict[str, Any]:
    """What is known of a run of this very configuration and code: ``state``, ``why``, ``cpu_seconds``."""
    record = read_json(job.record) if job.record.exists() else {}
    return record if record.get("fingerprint") == job.fingerprint else {"state": "missing"}


def perform(job: Job) -> None:
    """Run a job, or go on where it was killed, and write down how it ended."""
    from clplat.runs.experiment import run

    known = state_of(job)
    if known["state"] != "begun":  # nothing, a failure, or a run of another configuration or code
        shutil.rmtree(job.folder, ignore_errors=True)
    record: dict[str, Any] = {
        "fingerprint": job.fingerprint,
        "state": "begun",
        "why": "",
        "cpu_seconds": None,
    }
    job.folder.parent.mkdir(parents=True, exist_ok=True)
    write_json(job.record, record)
    begun = time.process_time()
    try:
        run(job.config, job.folder)
    except UserError as error:
        why = str(error).replace(f"{job.folder}{os.sep}", "")  # a page says it, which names no folders
        record |= {"state": "failed", "why": why}
    except Exception as error:  # a defect of one system must not take the others with it
        last = traceback.extract_tb(error.__traceback__)[-1]
        why = f"{type(error).__name__}: {error} ({Path(last.filename).name}, line {last.lineno})"
        record |= {"state": "failed", "why": why}
    else:
        whole = known["state"] != "begun"  # else a part of the seconds was another process's
        record |= {"state": "complete", "cpu_seconds": time.process_time() - begun if whole else None}
        _keep_numbers(job.folder)
    write_json(job.record, record)


def _keep_numbers(folder: Path) -> None:
    """Remove what a table does not need: the weights of hundreds of models."""
    for path in folder.iterdir():
        if path.is_dir() and path.name != "values":
            shutil.rmtree(path)
        elif path.is_file() and path.name not in (RESULT, CONFIG):
            path.unlink()
