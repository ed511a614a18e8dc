"""A user's mistake: one clear line, exit code 2, no traceback, and nothing that was computed is lost."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file, save_file

from clplat.cli import main
from clplat.files import read_json
from clplat.models.backbone import Backbone
from clplat.trees import load_tree

SMALL = (
    "--scenario.domains 2 --scenario.train 32 --scenario.queries 20 --scenario.gallery 20 --scenario.size 16"
)
TRAIN = "--train.epochs 1 --train.batch_size 8"

Clplat = Callable[..., str]

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def fails(small_backbone: Path, capsys: pytest.CaptureFixture[str]) -> Clplat:
    """Runs ``clplat run`` with a small backbone, which must fail; returns what it said."""

    def call(words: str, out: Path, own_backbone: bool = True) -> str:
        model = ["--backbone", f"local-dir:{small_backbone}"] if own_backbone else []
        code = main(["run", *model, *words.split(), "--no-track", "--out", str(out)])
        shown = capsys.readouterr()
        lines = shown.err.splitlines()
        assert code == 2 and len(lines) == 1, (code, shown.err)
        assert lines[0].startswith("clplat: ") and "Traceback" not in shown.out + shown.err
        assert len(lines[0]) < 600
        return lines[0].removeprefix("clplat: ")

    return call


@pytest.fixture
def succeeds(small_backbone: Path, capsys: pytest.CaptureFixture[str]) -> Clplat:
    def call(words: str, out: Path) -> str:
        model = ["--backbone", f"local-dir:{small_backbone}"]
        code = main(["run", *model, *words.split(), "--no-track", "--out", str(out)])
        shown = capsys.readouterr()
        assert code == 0, shown.err
        assert shown.err == ""
        assert read_json(out / "result.json")["status"] == "complete"
        return shown.out

    return call


def picture_tree(root: Path) -> Path:
    """Two domains of three classes of a few pictures."""
    for d, domain in enumerate(("photo", "sketch")):
        for c, category in enumerate(("cat", "dog", "owl")):
            for i in range(12):
                path = root / domain / category / f"{i:02d}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.new("RGB", (20, 20), (40 * d + i, 60 * c, 90)).save(path)
    return root


TREE = "--scenario domain_folders --scenario.train 8 --scenario.queries 4"

# -- before anything runs -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        ("--strategy repaly", ["unknown strategy 'repaly'", "did you mean 'replay'"]),
        ("--strategy replay --strategy.siz 3", ["strategy.siz", "did you mean 'strategy.size'"]),
        ("--strategy replay --strategy.size many", ["strategy.size", "a whole number", "'many'"]),
        ("--device gpu", ["device 'gpu' cannot be used"]),
        ("--scenario.domains 99", ["1 to 36", "99"]),
        ("--evaluation.batch_size 0", ["evaluation", "batch_size", "at least 1"]),
        (
            "--composer image_only --prompt context --adapter none",
            ["prompt 'context'", "composer 'image_only'"],
        ),
        ("--composer image_only --adapter full --adapter.towers text", ["adapter 'full'", "'image_only'"]),
        ("--adapter none", ["strategy 'naive' has nothing to train", "--adapter lora"]),
        (
            "--strategy lora_per_domain --adapter lora",
            ["lora_per_domain", "adapter 'lora'", "--adapter none"],
        ),
        ("--loss similarity_distillation", ["similarity_distillation", "info_nce"]),
        ("--config no-such.yaml", ["no-such.yaml", "No such file"]),
        ("--scenario domain_folders --scenario.root no-such-folder", ["no such folder", "no-such-folder"]),
    ],
)
def test_a_wrong_choice_is_reported_and_the_folder_stays_free(
    words: str, parts: list[str], fails: Clplat, succeeds: Clplat, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    said = fails(f"{'' if 'scenario' in words else SMALL} {TRAIN} {words}", folder)
    for part in parts:
        assert part in said
    assert not (folder / "result.json").exists()
    if words == "--adapter none":  # once is enough: mended, the same command runs in the same folder
        succeeds(f"{SMALL} {TRAIN} --adapter lora", folder)


def test_a_prompt_for_an_opaque_tower_is_reported(fails: Clplat, tmp_path: Path) -> None:
    resnet = {
        "embed_dim": 32,
        "vision_cfg": {"layers": [1, 1, 1, 1], "width": 8, "image_size": 32, "patch_size": None},
        "text_cfg": {"width": 32, "layers": 2, "context_length": 48, "heads": 2},
    }
    resnet["vision_cfg"]["head_width"] = 16  # type: ignore[index]
    Backbone.random(resnet, seed=0).save(tmp_path / "resnet")
    model = f"--backbone local-dir:{tmp_path / 'resnet'} --adapter none"
    said = fails(f"{model} {SMALL} --prompt deep", tmp_path / "run", own_backbone=False)
    assert "takes no prompt" in said and "image tower" in said


@pytest.mark.parametrize(
    "words", ["", "frobnicate", "run --seed", "list nothing", "search --run x", "ui --port x"]
)
def test_a_wrong_command_line_is_one_line(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words.split()) == 2
    shown = capsys.readouterr()
    assert shown.out == "" and shown.err.startswith("clplat: ") and shown.err.count("\n") == 1


# -- weights and pictures -------------------------------------------------------------------------------


def damaged(small_backbone: Path, folder: Path, how: str) -> Path:
    shutil.copytree(small_backbone, folder)
    weights = folder / "open_clip_model.safetensors"
    if how == "cut":
        weights.write_bytes(weights.read_bytes()[:1000])
    elif how == "gone":
        weights.unlink()
    elif how == "lacks a tensor":
        tensors = load_file(weights)
        del tensors["visual.proj"]
        save_file(tensors, weights)
    else:
        config = read_json(folder / "open_clip_config.json")
        config["model_cfg"]["vision_cfg"]["width"] = 64
        (folder / "open_clip_config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize(
    ("how", "parts"),
    [
        ("cut", ["open_clip_model.safetensors", "damaged"]),
        ("gone", ["has no weights"]),
        ("lacks a tensor", ["does not fit", "visual.proj"]),
        ("other width", ["does not fit", "visual.", "64"]),
    ],
)
def test_weights_that_do_not_fit(
    how: str, parts: list[str], small_backbone: Path, fails: Clplat, tmp_path: Path
) -> None:
    folder = damaged(small_backbone, tmp_path / "model", how)
    said = fails(f"--backbone local-dir:{folder} {SMALL}", tmp_path / "run", own_backbone=False)
    for part in parts:
        assert part in said


def test_no_backbone_is_silently_random(fails: Clplat, tmp_path: Path) -> None:
    said = fails(f"--backbone ViT-B-32 {SMALL}", tmp_path / "run", own_backbone=False)
    assert "needs weights" in said and "laion" in said
    said = fails(f"--backbone clplat-tny {SMALL}", tmp_path / "run", own_backbone=False)
    assert "did you mean 'clplat-tiny'" in said


def test_broken_pictures_are_counted_listed_and_refused_or_declared(
    fails: Clplat, succeeds: Clplat, tmp_path: Path
) -> None:
    root = picture_tree(tmp_path / "pictures")
    (root / "photo" / "cat" / "00.png").write_bytes(b"no picture")
    whole = (root / "sketch" / "owl" / "03.png").read_bytes()
    (root / "sketch" / "owl" / "03.png").write_bytes(whole[:40])
    words = f"{TREE} {TRAIN} --scenario.root {root}"
    said = fails(words, tmp_path / "run")
    for part in ("2 of 72 pictures", "photo/cat/00.png", "sketch/owl/03.png", "--scenario.bad_pictures drop"):
        assert part in said
    succeeds(f"{words} --scenario.bad_pictures drop", tmp_path / "run")
    report = read_json(tmp_path / "run" / "result.json")["data"]["report"]
    assert report["dropped"] == {"count": 2, "files": ["photo/cat/00.png", "sketch/owl/03.png"]}


def test_a_picture_that_goes_missing_during_a_run(
    fails: Clplat, succeeds: Clplat, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows that are known stay, and with the picture back the run goes on."""
    monkeypatch.setenv("CLPLAT_CACHE", str(tmp_path / "store"))  # other tests have seen this picture
    root = picture_tree(tmp_path / "pictures")
    module = tmp_path / "clplat_test_missing.py"
    module.write_text(
        "from pathlib import Path\n"
        "from clplat.training.strategy import Strategy\n"
        "class Removing(Strategy):\n"
        "    'Moves the pictures of a class away before the second experience, if told so by a file.'\n"
        "    def before_experience(self, learner, experience):\n"
        f"        mark = Path({str(tmp_path / 'mark')!r})\n"
        "        if experience.current_experience == 1 and mark.exists():\n"
        f"            Path({str(root)!r}, 'sketch', 'owl').rename({str(tmp_path / 'away')!r})\n"
    )
    (tmp_path / "mark").write_text("")
    sys.path.insert(0, str(tmp_path))
    try:
        words = f"{TREE} {TRAIN} --scenario.root {root} --strategy clplat_test_missing:Removing"
        said = fails(words, tmp_path / "run")
        assert "no such picture" in said and "sketch/owl" in said
        assert f"the last good version is {tmp_path / 'run' / 'versions' / '1.safetensors'}" in said
        failed = read_json(tmp_path / "run" / "result.json")
        assert failed["status"] == "failed" and len(failed["metrics"]["R@5"]) == 2
        (tmp_path / "mark").unlink()
        (tmp_path / "away").rename(root / "sketch" / "owl")
        succeeds(words, tmp_path / "run")
        done = read_json(tmp_path / "run" / "result.json")
        assert done["failure"] is None and done["metrics"]["R@5"][:2] == failed["metrics"]["R@5"]
    finally:
        sys.path.remove(str(tmp_path))


# -- streams --------------------------------------------------------------------------------------------


def test_an_empty_domain_is_reported(fails: Clplat, succeeds: Clplat, tmp_path: Path) -> None:
    root = picture_tree(tmp_path / "pictures")
    (root / "cartoon").mkdir()
    said = fails(f"{TREE} --scenario.root {root}", tmp_path / "run")
    assert "no class folders" in said and "cartoon" in said
    (root / "cartoon" / "cat").mkdir()
    said = fails(f"{TREE} --scenario.root {root}", tmp_path / "run")
    assert "no pictures" in said and "cartoon/cat" in said
    succeeds(f"{TREE} {TRAIN} --scenario.root {root} --scenario.order [photo,sketch]", tmp_path / "run")


SCENARIO = """
'''A stream that somebody else wrote, with a mistake.'''
from dataclasses import replace
from clplat.training.streams import build_benchmark
from clplat.data.fingerprint import stream_fingerprint
from scenarios.catalogue import Catalogue

class Broken(Catalogue):
    '''The catalogue with a mistake.'''
    def __init__(self, mistake: str = 'none') -> None:
        super().__init__(domains=2, train=16, queries=20, gallery=20, size=16)
        self.mistake = mistake
    def build(self):
        domains, probes = super().build()
        first = domains[0]
        queries, gallery = first.test.queries, first.test.gallery
        if self.mistake == 'no target':
            keep = tuple(p for p in gallery.pictures if p.key not in queries[3].targets)
            first = replace(first, test=replace(first.test, gallery=replace(gallery, pictures=keep)))
        if self.mistake == 'empty gallery':
            first = replace(first, test=replace(first.test, gallery=replace(gallery, pictures=())))
        if self.mistake == 'no queries':
            first = replace(first, val=replace(first.val, queries=()))
        if self.mistake == 'no triplets':
            return [replace(domain, train=()) for domain in domains], probes
        if self.mistake == 'trained on gallery':
            leak = replace(first.train[0], target=gallery.items[0])
            first = replace(first, train=(leak, *first.train[1:]))
        if self.mistake == 'long text':
            query = replace(first.train[0].query, text='very ' * 60)
            first = replace(first, train=(replace(first.train[0], query=query), *first.train[1:]))
        if self.mistake == 'nothing':
            return [], probes
        return [first, *domains[1:]], probes
"""


@pytest.fixture
def broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "clplat_test_broken.py").write_text(SCENARIO)
    monkeypatch.syspath_prepend(tmp_path)
    return "--scenario clplat_test_broken:Broken"


@pytest.mark.parametrize(
    ("mistake", "parts"),
    [
        ("no target", ["domain 'dress-studio', test", "has no right answer in gallery"]),
        ("empty gallery", ["domain 'dress-studio', test", "is empty"]),
        ("no queries", ["domain 'dress-studio', val", "there are no queries"]),
        ("no triplets", ["strategy 'naive' trains", "no domain of the stream has training examples"]),
        ("trained on gallery", ["dress-studio", "also trained on"]),
        ("nothing", ["needs at least one domain"]),
    ],
)
def test_a_stream_that_cannot_be_measured_is_reported(
    mistake: str, parts: list[str], broken: str, fails: Clplat, tmp_path: Path
) -> None:
    config = tmp_path / "stream.yaml"
    config.write_text(yaml.safe_dump({"scenario": {"name": broken.split()[1], "mistake": mistake}}))
    said = fails(f"--config {config}", tmp_path / "run")
    for part in parts:
        assert part in said


def test_texts_that_would_be_cut_are_refused_or_declared(
    broken: str, fails: Clplat, succeeds: Clplat, tmp_path: Path
) -> None:
    config = tmp_path / "stream.yaml"
    config.write_text(yaml.safe_dump({"scenario": {"name": broken.split()[1], "mistake": "long text"}}))
    said = fails(f"--config {config}", tmp_path / "run")
    for part in ("1 texts are longer", "48 tokens", "very very", "--data.long_texts cut"):
        assert part in said
    succeeds(f"--config {config} {TRAIN} --data.long_texts cut", tmp_path / "run")
    cut = read_json(tmp_path / "run" / "result.json")["data"]["cut_texts"]
    assert len(cut) == 1 and cut[0].startswith("very very")


# -- folders and disks ----------------------------------------------------------------------------------


def test_a_folder_with_another_experiment_or_other_files(
    fails: Clplat, succeeds: Clplat, tmp_path: Path
) -> None:
    words = f"{SMALL} {TRAIN} --strategy frozen"
    succeeds(words, tmp_path / "run")
    before = (tmp_path / "run" / "result.json").read_bytes()
    said = fails(f"{words} --seed 1", tmp_path / "run")
    for part in (str(tmp_path / "run"), "holds another experiment", "seed is 0 there and 1 here", "--out"):
        assert part in said
    assert (tmp_path / "run" / "result.json").read_bytes() == before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("")
    assert "holds 'thesis.tex' but no experiment" in fails(words, tmp_path / "mine")
    (tmp_path / "file").write_text("")
    assert "cannot use the output folder" in fails(words, tmp_path / "file")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written(fails: Clplat, tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    assert "Permission denied" in fails(SMALL, tmp_path / "locked" / "run")


def test_a_full_disk_loses_nothing(
    fails: Clplat, succeeds: Clplat, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import clplat.files

    words = f"{SMALL} {TRAIN} --strategy replay --strategy.size 8"
    succeeds(words, tmp_path / "whole")
    replace, count = os.replace, 0

    def full(source: Any, target: Any) -> None:
        nonlocal count
        count += 1
        if count > 10:  # 1 for the configuration, 6 for the zero-shot row: in the row after the first domain
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        replace(source, target)

    monkeypatch.setattr(clplat.files.os, "replace", full)
    said = fails(words, tmp_path / "run")
    assert "No space left on device" in said and str(tmp_path / "run") in said
    monkeypatch.undo()
    known = read_json(tmp_path / "run" / "result.json")
    assert known["status"] == "running" and len(known["metrics"]["R@5"]) == 1
    assert load_tree(tmp_path / "run" / "checkpoint.safetensors")["result"]["metrics"] == known["metrics"]
    succeeds(words, tmp_path / "run")
    assert unmeasured(tmp_path / "run") == unmeasured(tmp_path / "whole")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip(f"cannot mount a small disk: {mounted.stderr.decode().strip()}")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_disk_that_is_really_full(fails: Clplat, succeeds: Clplat, small_disk: Path) -> None:
    words = f"{SMALL} {TRAIN} --strategy ewc"  # its checkpoint holds the weights five times
    said = fails(words, small_disk / "run")
    assert "could not write" in said and "No space left on device" in said
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    succeeds(words, small_disk / "run")


def unmeasured(folder: Path) -> dict[str, Any]:
    result = read_json(folder / "result.json")
    del result["measured"]
    return dict(result)


# -- training -------------------------------------------------------------------------------------------

UNSTABLE = f"{SMALL} --train.batch_size 8 --train.epochs 2 --train.clip null --train.schedule constant"


def test_a_loss_that_is_not_finite_stops_the_run_and_says_where(fails: Clplat, tmp_path: Path) -> None:
    words = f"{UNSTABLE} --train.lr 1e30 --checkpoint-every 1"
    said = fails(words, tmp_path / "run")
    good = tmp_path / "run" / "versions" / "0.safetensors"
    for part in ("the loss is not finite", "step 1", "experience 0", "batch: dress-studio/", f"{good}"):
        assert part in said
    result = read_json(tmp_path / "run" / "result.json")
    assert result["status"] == "failed" and len(result["metrics"]["R@5"]) == 1
    failure = result["failure"]
    assert failure["step"] == 1 and failure["experience"] == 0 and len(failure["batch_ids"]) == 8
    assert failure["checkpoint"] == "versions/0.safetensors" and failure["error"] in said
    assert all(torch.isfinite(t).all() for t in load_tree(good)["weights"].values())
    assert fails(words, tmp_path / "run") == said, "the same run fails at the same step again"


def test_weights_that_break_in_the_last_step_make_no_version(fails: Clplat, tmp_path: Path) -> None:
    words = (
        f"{SMALL} --train.batch_size 64 --train.epochs 1 --train.clip null --train.warmup 0 --train.lr 1e38"
    )
    said = fails(f"{words} --train.optimizer sgd --train.weight_decay 10", tmp_path / "run")
    assert "not finite" in said and str(tmp_path / "run" / "versions" / "0.safetensors") in said
    assert not (tmp_path / "run" / "versions" / "1.safetensors").exists()


# -- the real command -----------------------------------------------------------------------------------


def test_the_installed_command_says_the_same(tmp_path: Path) -> None:
    command = [str(Path(sys.executable).parent / "clplat"), "run", "--strategy", "repaly"]
    done = subprocess.run([*command, "--out", str(tmp_path / "run")], capture_output=True, text=True)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("clplat: unknown strategy 'repaly'; did you mean 'replay'?")
    assert done.stderr.count("\n") == 1
