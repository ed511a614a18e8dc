"""Killed with -9 at random instants, again and again: the run ends with the same bits, flops included."""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clplat.events import Listener
from clplat.files import read_json
from clplat.runs.experiment import run
from clplat.trees import load_tree

pytestmark = pytest.mark.usefixtures("one_thread")

#: What is killed; each has something of its own to lose.
SYSTEMS: dict[str, dict[str, Any]] = {
    "last block": {"strategy": "naive", "adapter": "full", "adapter.last": 1, "composer": "combiner"},
    "distill": {"strategy": "distill", "adapter": "lora", "adapter.lora_dropout": 0.2},
    "replay": {
        "strategy": "replay",
        "strategy.size": 8,
        "strategy.batch_size": 4,
        "projection": "linear",
    },
    "ewc": {"strategy": "ewc", "train.reset_optimizer": False, "train.optimizer": "sgd"},
    "lora_per_domain": {"strategy": "lora_per_domain", "composer": "combiner", "projection": "ridge"},
}


@pytest.fixture(scope="module")
def world(small_backbone: Path) -> dict[str, Any]:
    return {
        "backbone": f"local-dir:{small_backbone}",
        "scenario": {"name": "catalogue", "domains": 2, "train": 16, "queries": 8, "gallery": 20, "size": 16},
        "train": {"epochs": 2, "batch_size": 8, "workers": 0},
    }


class Telling(Listener):
    """Writes a byte for every event."""

    def __init__(self, pipe: int) -> None:
        self.pipe = pipe

    def progress(self, *_: Any) -> None:
        os.write(self.pipe, b".")

    cell = row = progress


def killed(config: dict[str, Any], folder: Path, events: int, every: int) -> bool:
    """Run in a process of its own that is killed after so many events; False if it ended before."""
    begin, end = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            run(config, folder, listener=Telling(end), checkpoint_every=every)
            os._exit(0)
        except BaseException:
            traceback.print_exc(file=sys.stderr)
            os._exit(1)
    os.close(end)
    for _ in range(events):
        if not os.read(begin, 1):
            break
    os.kill(child, signal.SIGKILL)
    os.close(begin)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, -signal.SIGKILL), "it failed by itself"
    return code != 0


def left(folder: Path, bits: Callable[[Any], Any]) -> dict[str, Any]:
    """All that is on disk when a run is over, but what was measured of this machine."""
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("*.safetensors")):
        found[path.relative_to(folder).as_posix()] = bits(load_tree(path))
    result = read_json(folder / "result.json")
    assert result["status"] == "complete"
    del result["measured"]
    return found | {"result": json.dumps(result, sort_keys=True)}


@pytest.mark.parametrize(
    ("names", "kills"), [(["last block"], 2), pytest.param(list(SYSTEMS), 200, marks=pytest.mark.slow)]
)
def test_kills_change_nothing(
    names: list[str],
    kills: int,
    world: dict[str, Any],
    bits: Callable[[Any], Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each run has an empty store of its own: what a killed process left there is met and checked again."""
    dice, done, runs, whole = random.Random(12), 0, 0, {}
    for name in names:
        monkeypatch.setenv("CLPLAT_CACHE", str(tmp_path / "whole" / f"store {name}"))
        run({**world, **SYSTEMS[name]}, tmp_path / "whole" / name, checkpoint_every=0)
        whole[name] = left(tmp_path / "whole" / name, bits)
    while done < kills:
        name, runs = names[runs % len(names)], runs + 1
        folder = tmp_path / f"run {runs}"
        monkeypatch.setenv("CLPLAT_CACHE", str(tmp_path / f"store {runs}"))
        config, every = {**world, **SYSTEMS[name]}, dice.choice([0, 1, 3])
        for _ in range(8):
            if done == kills or not killed(config, folder, dice.randint(1, 12), every):
                break
            done += 1
        run(config, folder, checkpoint_every=every)
        found = left(folder, bits)
        different = [key for key in whole[name] if found.get(key) != whole[name][key]]
        assert found.keys() == whole[name].keys() and not different, f"run {runs} of {name}: {different}"
