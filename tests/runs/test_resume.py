"""Interrupted at any instant, an experiment goes on and ends with the same bits."""

from __future__ import annotations

import json
import multiprocessing
import shlex
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from clplat import registry
from clplat.cli import main
from clplat.config.parse import parse_arguments
from clplat.config.resolve import command_of, resolve
from clplat.errors import UserError
from clplat.events import Listener
from clplat.files import read_json
from clplat.models.backbone import Backbone
from clplat.runs.experiment import run
from clplat.runs.load import load
from clplat.trees import load_tree

pytestmark = pytest.mark.usefixtures("one_thread")

EVERY = 3  # steps between checkpoints; an experience has 2 epochs of 4

#: What is run, each with a state of its own that a resumed run needs.
SYSTEMS: dict[str, dict[str, Any]] = {
    "naive": {"strategy": "naive", "train.optimizer": "sgd", "train.workers": 0},
    "ewc": {"strategy": "ewc", "train.reset_optimizer": False},
    "replay": {"strategy": "replay", "strategy.size": 10, "strategy.batch_size": 4, "composer": "combiner"},
    "reservoir": {"strategy": "agem", "strategy.policy": "reservoir", "strategy.size": 10},
    "distill": {"strategy": "distill", "adapter": "lora", "adapter.lora_dropout": 0.2},
    "patch": {"strategy": "patch", "projection": "procrustes", "prompt": "deep", "adapter": "none"},
    "compatible": {"strategy": "backward_compatible", "projection": "linear"},
    "lora_per_domain": {"strategy": "lora_per_domain", "composer": "combiner", "projection": "ridge"},
    "cumulative": {"strategy": "cumulative", "train.schedule": "constant"},
    "frozen": {"strategy": "frozen", "projection": "procrustes"},
    "growing_prompt": {
        "strategy": "growing_prompt",
        "adapter": "none",
        "strategy.prompt": "coda",
        "strategy.prompt.components": 2,
    },
    "pseudo_word": {
        "strategy": "naive",
        "loss": "none",
        "adapter": "none",
        "composer": "pseudo_word",
        "composer.hidden": 16,
        "composer.inversion": 1.0,
        "composer.distil": 1.0,
        "composer.steps": 3,
    },
    "moe": {"strategy": "naive", "adapter": "moe", "adapter.rank": 4, "composer": "x_pool"},
    "unipt": {"strategy": "naive", "adapter": "unipt", "composer": "magic_lens", "composer.depth": 1},
}
#: Where it is interrupted: at the n-th event of a kind, counted anew after each interruption.
MOMENTS = [("progress", 2), ("progress", 7), ("cell", 3), ("row", 1), ("progress", 11), ("cell", 5)]
#: These are interrupted wherever there is something to interrupt; others twice, not all at the same moments.
OFTEN = {"naive", "replay", "lora_per_domain", "frozen"}
TWICE = [
    [("progress", 2), ("row", 1)],
    [("progress", 7), ("cell", 3)],
    [("progress", 11), ("cell", 2)],
]
#: Of these, weights are all that training leaves: one interruption, in the second experience, is enough.
ONCE = {"cumulative", "moe", "unipt"}
#: These go on as others here do, and the contracts of their parts resume them to the bit as well: slow.
ALIKE = {"reservoir", "cumulative", "pseudo_word", "moe", "unipt", "distill", "compatible", "patch"}


def moments_of(name: str) -> list[tuple[str, int]]:
    if name in OFTEN:
        return MOMENTS
    return [("progress", 11)] if name in ONCE else TWICE[list(SYSTEMS).index(name) % len(TWICE)]


@pytest.fixture(scope="module")
def world(small_backbone: Path) -> dict[str, Any]:
    """A backbone of 16 pixels and two small domains."""
    sizes = {"domains": 2, "train": 32, "queries": 20, "gallery": 20, "size": 16}
    return {
        "backbone": f"local-dir:{small_backbone}",
        "scenario": {"name": "catalogue", **sizes},
        "train": {"epochs": 2, "batch_size": 8},
    }


class Interrupt(Exception):
    pass


class Interrupter(Listener):
    """Raises at the n-th event of one kind."""

    def __init__(self, kind: str, count: int) -> None:
        self.left = count
        setattr(self, kind, self._count)

    def _count(self, *_: Any) -> None:
        self.left -= 1
        if self.left == 0:
            raise Interrupt


class Recorder(Listener):
    def __init__(self) -> None:
        self.notes: list[str] = []
        self.steps = 0
        self.ends: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def progress(self, experience: int, done: int, total: int) -> None:
        self.steps += 1

    def finished(self, result: dict[str, Any]) -> None:
        self.ends.append(result["status"])


def content(folder: Path, code: bool = True) -> str:
    """result.json without what is measured, as text; on request without the code either."""
    result = read_json(folder / "result.json")
    assert result["status"] == "complete"
    del result["measured"]
    if not code:
        del result["fingerprints"]["code"]
    return json.dumps(result, indent=1, sort_keys=True)


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def same_trees(one: Path, other: Path) -> bool:
    """Bit for bit, NaN included."""

    def bits(node: Any) -> Any:
        if isinstance(node, torch.Tensor):
            return node.dtype, tuple(node.shape), node.contiguous().numpy().tobytes()
        if isinstance(node, dict):
            return {key: bits(value) for key, value in node.items()}
        return [bits(value) for value in node] if isinstance(node, list | tuple) else node

    return bool(bits(load_tree(one)) == bits(load_tree(other)))


@pytest.fixture(scope="module")
def whole(world: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of an uninterrupted run of a system; made once."""
    made: dict[str, Path] = {}

    def folder(name: str) -> Path:
        if name not in made:
            made[name] = tmp_path_factory.mktemp("whole") / name
            run({**world, **SYSTEMS[name]}, made[name], checkpoint_every=0)
        return made[name]

    return folder


class Clock:
    """Stands for the module `time`: a step takes a second, and nothing else does."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0.001, [0, *range(1, 9), 8, *range(9, 17), 16]),
        (0.045, [0, 5, 8, 13, 16]),
        (3600.0, [0, 8, 16]),
    ],
)
def test_checkpoints_take_a_small_share_of_the_time(
    seconds: float,
    expected: list[int],
    world: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A hundredth at most, but for the one after each row: there are eight steps between two rows."""
    clock, steps = Clock(), list[int]()

    class Ticking(Listener):
        def progress(self, *_: int) -> None:
            clock.now += 1

    def save(path: Path, trainer: Any, *_: Any) -> None:
        steps.append(trainer.step)
        clock.now += seconds

    monkeypatch.setattr("clplat.runs.experiment.save_state", save)
    monkeypatch.setattr("clplat.runs.experiment.time", clock)
    run({**world, "strategy": "naive"}, tmp_path / "run", listener=Ticking())
    assert steps == expected


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if name in ALIKE else []) for name in SYSTEMS]
)
def test_interrupted_again_and_again_it_ends_with_the_same_bits(
    name: str, world: dict[str, Any], whole: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = tmp_path / name
    config = {**world, **SYSTEMS[name]}
    interrupted = 0
    trains = registry.load("strategies", config["strategy"]).trains  # without it there are no steps
    moments = [moment for moment in moments_of(name) if trains or moment[0] != "progress"]
    for kind, count in moments:
        try:
            run(config, folder, listener=Interrupter(kind, count), checkpoint_every=EVERY)
        except Interrupt:
            interrupted += 1
        else:
            break
    last = Recorder()
    run(config, folder, listener=last, checkpoint_every=EVERY)
    assert interrupted >= ((4 if trains else 2) if name in OFTEN else len(moments))
    assert last.ends == ["complete"] and last.notes == []
    assert content(folder) == content(whole(name))
    assert files(folder) == files(whole(name))
    for file in files(folder):
        if file.endswith(".safetensors"):
            assert same_trees(folder / file, whole(name) / file), file


def test_the_same_command_twice_gives_the_same_bytes(
    world: dict[str, Any], whole: Callable[[str], Path], tmp_path: Path
) -> None:
    written = read_json(whole("replay") / "result.json")
    words = written["command"].split()
    again = resolve(parse_arguments(words[2:]))
    assert again.as_dict() == written["config"] and command_of(again) == written["command"]
    run(again, tmp_path / "again")
    assert content(tmp_path / "again") == content(whole("replay"))


def test_a_checkpoint_saves_work(world: dict[str, Any], tmp_path: Path) -> None:
    config = {**world, "strategy": "ewc"}
    with pytest.raises(Interrupt):
        run(config, tmp_path / "x", listener=Interrupter("progress", 14), checkpoint_every=EVERY)
    rest = Recorder()
    run(config, tmp_path / "x", listener=rest)
    assert rest.steps == 16 - 12, "the last checkpoint was made after step 12"


def test_a_complete_run_is_not_repeated(world: dict[str, Any], whole: Callable[[str], Path]) -> None:
    folder = whole("naive")
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    seen = Recorder()
    result = run({**world, **SYSTEMS["naive"]}, folder, listener=seen)
    assert result == read_json(folder / "result.json")
    assert seen.steps == 0 and seen.ends == ["complete"]
    changed = [path.name for path, at in before.items() if path.stat().st_mtime_ns != at]
    assert changed in ([], [".lock"])


def test_another_configuration_is_refused_and_nothing_is_touched(
    world: dict[str, Any], whole: Callable[[str], Path]
) -> None:
    before = content(whole("naive"))
    with pytest.raises(UserError, match=r"another experiment \(train\.lr is 0\.001 there and 0\.01 here"):
        run({**world, **SYSTEMS["naive"], "train.lr": 0.01}, whole("naive"))
    assert content(whole("naive")) == before


def test_versions_hold_nothing_that_the_backbone_brings(
    world: dict[str, Any], whole: Callable[[str], Path], tmp_path: Path
) -> None:
    """Nothing of it before training, nothing ever of what is frozen; and they come back to the bit."""
    config = {**world, "adapter": "full", "composer": "combiner"}
    run({**config, "strategy": "naive"}, tmp_path / "naive", checkpoint_every=0)
    run({**config, "strategy": "frozen"}, tmp_path / "frozen", checkpoint_every=0)
    held = {
        (name, version): load_tree(tmp_path / name / "versions" / f"{version}.safetensors")["weights"]
        for name in ("naive", "frozen")
        for version in range(3)
    }
    for place, weights in held.items():
        moved = any(key.startswith("backbone.") for key in weights)
        assert moved == (place in (("naive", 1), ("naive", 2))), place
    before = read_json(tmp_path / "naive" / "result.json")["fingerprints"]["weights"]
    for version in range(3):
        model = load(tmp_path / "naive", version)
        assert (model.backbone.fingerprint() == before) == (version == 0)
        again = dict(model.named_parameters())
        assert all(torch.equal(again[key], value) for key, value in held["naive", version].items())


def test_two_processes_cannot_share_a_folder(world: dict[str, Any], tmp_path: Path) -> None:
    config = {**world, "strategy": "naive"}

    class Second(Listener):
        def row(self, result: dict[str, Any]) -> None:
            with pytest.raises(UserError, match="another process is running the experiment"):
                run(config, tmp_path / "x")
            raise Interrupt

    with pytest.raises(Interrupt):
        run(config, tmp_path / "x", listener=Second())


@pytest.mark.parametrize("keep", [0, 100, -1])
def test_a_damaged_checkpoint_is_reported_and_the_way_out_works(
    keep: int, world: dict[str, Any], whole: Callable[[str], Path], tmp_path: Path
) -> None:
    config, folder = {**world, **SYSTEMS["naive"]}, tmp_path / "x"
    with pytest.raises(Interrupt):
        run(config, folder, listener=Interrupter("row", 2))
    state = folder / "checkpoint.safetensors"
    state.write_bytes(state.read_bytes()[:keep])
    with pytest.raises(UserError, match=r"is not a readable state file.*remove that file to begin"):
        run(config, folder)
    state.unlink()
    run(config, folder)
    assert content(folder) == content(whole("naive"))


def test_changed_code_is_noted(
    world: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, folder = {**world, "strategy": "naive"}, tmp_path / "x"
    with pytest.raises(Interrupt):
        run(config, folder, listener=Interrupter("row", 2))
    held = read_json(folder / "result.json")["fingerprints"]["code"]
    monkeypatch.setattr("clplat.provenance.code_fingerprint", lambda: "changed")
    seen = Recorder()
    result = run(config, folder, listener=seen)
    assert any("clplat's code changed" in note for note in seen.notes)
    assert result["fingerprints"]["code"] == held


# -- what only some models have ---------------------------------------------------------------

STRATEGY = '''
"""Freezes the text tower from the second experience on."""
from clplat.training.strategy import Strategy
class Freezing(Strategy):
    """Freezes text after the first experience, before which it trains only the last layer norm."""
    def __init__(self) -> None:
        self.count = 0
    def before_experience(self, learner, experience):
        for name, parameter in learner.model.named_parameters():
            if self.count == 0:
                parameter.requires_grad_("ln_" in name or "visual" in name)
            elif "visual" not in name:
                parameter.requires_grad_(False)
        self.count += 1
    def after_experience(self, learner, experience):
        learner.model.requires_grad_(False)
        for name, parameter in learner.model.named_parameters():
            parameter.requires_grad_("visual" in name)
    def state_dict(self):
        return {"count": self.count}
    def load_state_dict(self, state):
        self.count = state["count"]
'''


def test_what_a_strategy_froze_is_still_frozen(
    world: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "clplat_test_freezing.py").write_text(STRATEGY)
    monkeypatch.syspath_prepend(tmp_path)
    config = {**world, "strategy": "clplat_test_freezing:Freezing"}
    run(config, tmp_path / "whole")
    for kind, count in (("progress", 4), ("progress", 8)):
        with pytest.raises(Interrupt):
            run(config, tmp_path / "cut", listener=Interrupter(kind, count), checkpoint_every=EVERY)
    run(config, tmp_path / "cut", checkpoint_every=EVERY)
    assert content(tmp_path / "cut") == content(tmp_path / "whole")
    for version in ("1", "2"):
        name = f"versions/{version}.safetensors"
        assert same_trees(tmp_path / "cut" / name, tmp_path / "whole" / name)


def test_statistics_of_a_trained_batch_norm_are_kept(world: dict[str, Any], tmp_path: Path) -> None:
    resnet = {
        "embed_dim": 32,
        "vision_cfg": {
            "layers": [1, 1, 1, 1],
            "width": 8,
            "image_size": 32,
            "patch_size": None,
            "head_width": 16,
        },
        "text_cfg": {"width": 32, "layers": 2, "context_length": 48, "heads": 2},
    }
    Backbone.random(resnet, seed=0).save(tmp_path / "resnet")
    config = {**world, "backbone": f"local-dir:{tmp_path / 'resnet'}", "strategy": "naive"}
    run(config, tmp_path / "whole")
    with pytest.raises(Interrupt):
        run(config, tmp_path / "cut", listener=Interrupter("progress", 11), checkpoint_every=EVERY)
    run(config, tmp_path / "cut", checkpoint_every=EVERY)
    assert content(tmp_path / "cut") == content(tmp_path / "whole")
    saved = load_tree(tmp_path / "whole" / "versions" / "1.safetensors")["weights"]
    assert any(name.endswith("running_mean") for name in saved)


# -- kill -9 ----------------------------------------------------------------------------------


#: Run in a process of its own, which goes no further once a file is written after which it is so far.
STOPPED = """
import os, threading
from clplat.cli import main
from clplat.trees import load_tree

def position():
    state = folder / "checkpoint.safetensors"
    return load_tree(state)["position"] if state.exists() else [-1, 0, 0]

def replacing(*names, **where):
    replace(*names, **where)
    if eval(moment):
        pipe.send("there")
        threading.Event().wait()

replace, os.replace = os.replace, replacing
main(words)
"""

KILLS = {
    "in the first epoch": "position() == [0, 0, 3]",
    "in the first row": "(folder / 'galleries' / '1.safetensors').exists()",
    "between experiences": "(folder / 'versions' / '1.safetensors').exists()",
    "in the last experience": "position()[0] == 1 and position()[1:] != [0, 0]",
    "in the last row": "(folder / 'ranks' / '2.safetensors').exists()",
}


@pytest.mark.parametrize(
    "places",
    [("in the first row", "in the last experience"), pytest.param(tuple(KILLS), marks=pytest.mark.slow)],
    ids=["two stages", "every stage"],
)
def test_killed_with_signal_9_it_goes_on(
    places: tuple[str, ...], world: dict[str, Any], whole: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = tmp_path / "killed"
    words = shlex.split(command_of(resolve({**world, **SYSTEMS["replay"]})))[1:]
    words += ["--out", str(folder), "--no-track", "--checkpoint-every", str(EVERY)]
    context: Any = multiprocessing.get_context("forkserver")  # imports once for all of these processes
    context.set_forkserver_preload(["clplat.runs.experiment", "open_clip"])
    for place in places:
        ours, theirs = context.Pipe(duplex=False)
        known = {"words": words, "moment": KILLS[place], "folder": folder, "pipe": theirs}
        process = context.Process(target=exec, args=(STOPPED, known))
        process.start()
        theirs.close()
        assert ours.recv() == "there", place  # EOFError: the run ended before it was so far
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL, place
        assert (
            not (folder / "result.json").exists() or read_json(folder / "result.json")["status"] == "running"
        )
    assert main(words) == 0
    # Each process hashed the code for itself; it may be edited while the tests run.
    assert content(folder, code=False) == content(whole("replay"), code=False)
    assert files(folder) == files(whole("replay"))
