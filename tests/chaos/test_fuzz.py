"""Bad input of every kind to every command: one clear line and an exit code, no traceback, nothing over 10 s.

Inputs are generated from a seed and their number, so that one that fails is repeated alone.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import shutil
import signal
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from clplat.cli import main
from clplat.config.slots import options_of
from clplat.kinds import KINDS
from clplat.registry import names

SEED = 12
#: Which inputs; ``CLPLAT_FUZZ=1234:1`` tries one of them again.
FIRST, COUNT = map(int, os.environ.get("CLPLAT_FUZZ", "0:2000").split(":"))
#: Seconds of one input; a machine that is busy with other things may be given more.
LIMIT = float(os.environ.get("CLPLAT_FUZZ_SECONDS", "10"))
RELEASE = Path(__file__).parents[1] / "fixtures" / "release_0_1_0"

COMMANDS = (
    "run", "derive", "demo", "sweep", "report", "compare", "ui", "list", "search", "submit", "cache",
    "track",
    "pretrain",
)  # fmt: skip
LONG, DEEP, BOMB = "n" * 300, "[" * 20_000, "a: &a [x, x]\nb: &b [*a, *a]\n"
#: Texts that no option expects.
TEXTS = (
    "", " ", "-", "--", "=", ".", "..", "/", "~", "*", "%s", "{}", "{", "[", "]", "&a", "!", "@", "#", "?",
    ":", "a:b",
    "null", "true", "nan", "inf", "-1", "0", "1e999", "9" * 30, "9" * 5000, "1:30", "0x1f", "2001-99-99",
    "!!python/none",
    LONG, "é" * 150, "\ud800", "a\0b", "a\nb", "\x1b[31m", "'", '"', "../../etc/passwd", "None", "[1, 2",
    "{a: 1}",
    "[[[[[[]]]]]]", "subprocess:Popen", "os:system", "torch.nn:Linear", "no.module:X", "a.b", "ewc,ewc",
    ",", "none,ewc",
)  # fmt: skip
#: Plain values in place of what a document holds.
VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 1e308, 10**30, "", "x", LONG, [], {}, [[]], [None], {"name": 5}, {"name": "none"},
    "subprocess:Popen",
)  # fmt: skip
CONTENTS = (
    b"", b"\0" * 64, b"\xff\xfe\xfa", b"null", b"[]", b"{}", b'"x"', b"5", b"NaN", b"{", b"a: [",
    b"a: b: c", DEEP.encode(),
    b"{'a':" * 5000, b"- x\n- y", b"? [a]\n: b", b"!!python/object/apply:os.system ['true']",
    b"x: 2001-99-99", b"\xef\xbb\xbf{}",
    b"n: " + b"9" * 5000, b"a: &a [*a]", b"a: 1\na: 2", b"strategy: [ewc, ewc]",
    b"strategy: {name: {name: ewc}}",
)  # fmt: skip

SIZES = [
    "--scenario.domains", "2", "--scenario.train", "16", "--scenario.queries", "10", "--scenario.gallery",
    "20",
    "--scenario.size", "16", "--train.epochs", "1", "--train.batch_size", "8", "--probes", "none",
]  # fmt: skip


@dataclass
class World:
    """What inputs are made of: a finished run, a sweep, pictures, a small model; a copy of one is spoilt."""

    run: Path
    sweep: Path
    pictures: Path
    model: Path
    folder: Path
    rng: random.Random = field(default_factory=random.Random)
    env: dict[str, str] = field(default_factory=dict)

    def copy(self, what: str) -> Path:
        shutil.copytree(getattr(self, what), self.folder / what)
        return self.folder / what

    def any(self, values: Sequence[Any]) -> Any:
        return self.rng.choice(values)

    @property
    def small(self) -> list[str]:
        """Words of a run of a second."""
        return [*SIZES, "--backbone", f"local-dir:{self.model}"]


def spoilt(rng: random.Random, value: Any) -> Any:
    """Plain data with one place replaced, removed or doubled."""
    if isinstance(value, dict) and value and rng.random() < 0.85:
        key = rng.choice(list(value))
        if rng.random() < 0.25:
            return {k: v for k, v in value.items() if k != key}
        return {**value, key: spoilt(rng, value[key])}
    if isinstance(value, list) and value and rng.random() < 0.85:
        place = rng.randrange(len(value))
        if rng.random() < 0.3:
            return value[:place] + value[place + 1 :] if rng.random() < 0.5 else [*value, value[place]]
        return [*value[:place], spoilt(rng, value[place]), *value[place + 1 :]]
    return rng.choice(VALUES)


def spoil(rng: random.Random, path: Path) -> None:
    """One file, damaged in one of the ways in which files are."""
    how, content = rng.random(), path.read_bytes()
    if how < 0.5 and path.suffix in (".json", ".yaml"):
        read = json.loads if path.suffix == ".json" else yaml.safe_load
        path.write_text(json.dumps(spoilt(rng, read(content))))
    elif how < 0.6:
        path.unlink()
    elif how < 0.65:
        path.unlink()
        path.mkdir()
    elif how < 0.75:
        path.write_bytes(content[: rng.randrange(len(content) or 1)])
    elif how < 0.85:
        path.write_bytes(rng.choice(CONTENTS))
    else:
        place = rng.randrange(len(content) or 1)
        path.write_bytes(content[:place] + rng.randbytes(8) + content[place + 8 :])


# -- the kinds of input: each gives the words of a command, after it prepared what they name -----------------


def unknown_words(w: World) -> list[str]:
    words = [w.any([*COMMANDS, *TEXTS, "rn", "--version "])]
    for _ in range(w.rng.randrange(1, 4)):
        words.append(
            w.any([*TEXTS, "--out", "--seed", "--strategy", "--k", "--port", "--strategy.size", f"--{LONG}"])
        )
    return (
        ["run", "--print-config", *words[1:]]
        if words[0] in ("run", "demo", "ui", "pretrain", "sweep")
        else words
    )


def a_value_of_an_option(w: World) -> list[str]:
    slot = w.any([s for s, kind in KINDS.items() if kind.plural])
    name = w.any(names(KINDS[slot].plural))
    options = [key for key in options_of(slot, name) if key.count(".") == 1]
    words = [f"--{slot}", name, *([f"--{w.any(options)}={w.any(TEXTS)}"] if options else [])]
    return ["run", "--print-config", *words]


def a_plain_option(w: World) -> list[str]:
    key = w.any(
        [
            *(o for group in ("train", "data", "evaluation") for o in options_of(group)),
            "seed",
            "device",
            "features",
        ]
    )
    texts = [text for text in TEXTS if (key, text) != ("train.compile", "true")]  # which may take minutes
    return ["run", *w.small, "--no-track", "--out", str(w.folder / "o"), f"--{key}={w.any(texts)}"]


def a_large_number(w: World) -> list[str]:
    key = w.any((
        "train.workers", "adapter.r", "scenario.domains", "scenario.size",
        "scenario.gallery",
        "scenario.negatives", "evaluation.batch_size", "evaluation.anchors", "train.micro_batch",
        "train.batch_size",
        "seed", "data.views",
    ))  # fmt: skip
    adapter = ["--adapter", w.any(("lora", "dora", "pissa", "loha", "vera"))] if key == "adapter.r" else []
    given = [
        word
        for pair in zip(w.small[::2], w.small[1::2], strict=True)
        if pair[0] != f"--{key}"
        for word in pair
    ]
    value = w.any(("100000", "999999", str(2**31), str(2**63), "9" * 25, "-5"))
    return ["run", *given, *adapter, f"--{key}", value, "--no-track", "--out", str(w.folder / "o")]


def a_part_name(w: World) -> list[str]:
    slot = w.any(list(KINDS))
    name = w.any(
        [*TEXTS, "ew", "builtins:print", "pathlib:Path", "json:loads", "collections:OrderedDict", "this:s"]
    )
    return ["run", "--print-config", f"--{slot}={name}"]


def a_configuration(w: World) -> list[str]:
    file = w.folder / "config.yaml"
    if w.rng.random() < 0.5:
        shutil.copy(w.run / "config.yaml", file)
        spoil(w.rng, file)
    else:
        file.write_bytes(w.any(CONTENTS) if w.rng.random() < 0.7 else bomb(w))
    given = w.any((*[str(file)] * 20, "/dev/zero", "/dev/null", str(w.folder)))
    return ["run", *w.small, "--config", given, "--no-track", "--out", str(w.folder / "o")]


def bomb(w: World) -> bytes:
    """YAML that is small on disk and huge, or endless, where it is read."""
    lines = [f"l{i + 1}: &l{i + 1} [{', '.join([f'*l{i}'] * 9)}]" for i in range(12)]
    laughs = "\n".join(["l0: &l0 [x, x]", *lines, "strategy: {name: *l12}", "scenario: *l12"])
    return w.any(
        (laughs.encode(), b"strategy: " + b"x" * 30_000_000, b"a: " + b"{a: " * 3000, b"- " * 50_000)
    )


def a_run_folder(w: World) -> list[str]:
    run = w.copy("run")
    files = sorted(path for path in run.rglob("*") if path.is_file())
    chosen = [path for path in files if path.suffix in (".json", ".yaml")] if w.rng.random() < 0.6 else files
    spoil(w.rng, w.any(chosen))
    out = str(w.folder / "o")
    return w.any((
        ["track", str(run)],
        ["derive", str(run), "--strategy", "patch", "--no-track", "--out", out],
        ["derive", str(run), "--strategy", "task_arithmetic", "--strategy.weight", "0,x", "--no-track",
        "--out", out],
        ["search", "--run", str(run), "--text", "in red", "--grid", f"{out}.png"],
        ["search", "--run", "run", "--out", str(w.folder), "--reference", LONG, "--grid", f"{out}.png"],
        ["submit", str(run), "--format", w.any(("circo", "cirr", "x")), "--out", out],
        ["run", *w.small, "--no-track", "--out", str(run)],
        ["report", str(run)],
        ["run", "--config", str(run / "config.yaml"), "--no-track", "--out", out],
    ))  # fmt: skip


def a_checkpoint(w: World) -> list[str]:
    """A run that goes on from a state in which something is missing or of another kind."""
    from clplat.trees import load_tree, save_tree

    run = w.copy("run")
    file = run / w.any(("checkpoint.safetensors", "versions/1.safetensors", "versions/2.safetensors"))
    held = run / "versions/1.safetensors"
    tree = load_tree(file if file.exists() else held)
    if not file.exists():
        tree = {
            "format": 2,
            "position": [1, 0, 0],
            "step": 2,
            "weights": tree["weights"],
            "result": {},
            "losses": [],
        }
    key = w.any(list(tree))
    tree[key] = w.any([*VALUES, {"a": 1}])
    if w.rng.random() < 0.5:
        del tree[key]
    save_tree(file, tree)
    if "versions" in str(file):
        return ["search", "--run", str(run), "--text", "in red", "--grid", str(w.folder / "o.png")]
    (run / "result.json").unlink()
    return ["run", *w.small, "--no-track", "--out", str(run)]


def a_sweep_folder(w: World) -> list[str]:
    sweep = w.copy("sweep")
    files = [sweep / "sweep.json", sweep / "sweep.yaml", *sweep.glob("*/result.json")]
    spoil(w.rng, w.any(files))
    if w.rng.random() < 0.4:
        (sweep / "sweep.yaml").unlink(missing_ok=True)
    return ["report", str(sweep), *w.any(([], [], ["--storage", w.any(TEXTS)]))]


def a_database(w: World) -> list[str]:
    base = w.folder / "runs"
    base.mkdir()
    file = base / "mlflow.db"
    how = w.rng.randrange(5)
    if how == 0:
        file.write_bytes(w.any(CONTENTS))
    elif how == 1:
        file.mkdir()
    elif how == 2:
        file.write_bytes(b"SQLite format 3\0" + w.rng.randbytes(4096))
    elif how == 3:
        file.symlink_to(file)
    else:
        w.env["MLFLOW_TRACKING_URI"] = w.any((
            "http://127.0.0.1:9", "foo://x", "sqlite:////proc/no/x.db", "http://", "sqlite:///",
            "databricks", LONG,
            "file:///proc/x", "postgresql://u:p@127.0.0.1:9/x",
        ))  # fmt: skip
    shutil.copytree(w.run, base / "r")
    return w.any((
        ["compare", "--out", str(base)],
        ["search", "--run", "abc", "--out", str(base), "--text", "x"],
        ["search", "--model", w.any(("models:/x@champion", "models:/x/1", "models:", "x", LONG)), "--out",
        str(base)],
        ["track", str(base / "r")],
        ["compare", "--out", str(base), "--scenario", w.any(TEXTS)],
    ))  # fmt: skip


def an_output_folder(w: World) -> list[str]:
    (w.folder / "file").write_text("x")
    (w.folder / "loop").symlink_to(w.folder / "loop")
    (w.folder / "gone").symlink_to(w.folder / "nowhere" / "deep")
    out = w.any((
        str(w.folder / "file"), str(w.folder / "file" / "x"), str(w.folder / "loop"), "/proc/x/y",
        "/dev/full", "/dev/null",
        str(w.folder / LONG), "\0", "", str(w.folder / "gone"), "/sys/x", str(w.folder / ("d/" * 2000)),
        "\ud800",
    ))  # fmt: skip
    return w.any((
        ["run", *w.small, "--no-track", "--out", out],
        ["sweep", "--strategies", "frozen", "--seeds", "0", *w.small, "--no-track", "--out", out],
        ["demo", "--no-track", "--out", out, "--scenario.size", "x" if out in ("", "\0") else "16",
        "--scenario.domains", "0"],
        ["report", out], ["compare", "--out", out], ["track", out], ["submit", out, "--format", "circo"],
        ["derive", str(w.run), "--strategy", "patch", "--no-track", "--out", out],
        ["pretrain", "--out", out, "--pairs", "4", "--epochs", "1", "--batch-size", "4", "--source",
        str(w.pictures / "photo")],
        ["search", "--run", str(w.run), "--text", "x", "--grid", out], ["search", "--run", out, "--text",
        "x"],
        ["submit", str(w.run), "--format", "circo", "--domain", "dress-studio", "--out", out],
    ))  # fmt: skip


def a_port(w: World) -> list[str]:
    port = w.any(("0", "-1", "65536", "70000", "9" * 30, "x", "", "80.5", LONG))
    return ["ui", "--out", str(w.folder / "runs"), "--port", port]


def a_search(w: World) -> list[str]:
    words = ["search", "--run", str(w.run), "--grid", str(w.folder / "g.png")]
    picture = w.folder / "p.png"
    picture.write_bytes(w.any(CONTENTS))
    for option, values in {
        "--reference": (*TEXTS, str(picture), "/dev/null", str(w.folder), "dress-studio/gallery/0"),
        "--text": TEXTS, "--k": (*TEXTS, "100000000"), "--domain": TEXTS, "--index": (*TEXTS, "hnsw",
        "ivf"),
        "--model-version": ("-1", "0", "99", "x", "9" * 30), "--run": TEXTS,
    }.items():  # fmt: skip
        if w.rng.random() < 0.3:
            words += [f"{option}={w.any(values)}"]
    return words


def a_sweep(w: World) -> list[str]:
    words = ["sweep", "--no-track", "--out", str(w.folder / "o"), *w.small]
    plans = {
        "methods": [w.any(VALUES), "naive"], "seeds": w.any(VALUES), "budget": w.any((*VALUES,
        {"trials": "x"})),
        "figure": w.any((*VALUES, {"kind": "x"}, {"kind": "lines", "x": 5})), "orders": w.any(VALUES),
        "space": w.any((*VALUES, {"train.lr": "x"}, {"train.lr": {"low": 1}})), "groups": w.any((*VALUES,
        {"a": 5})),
        "base": w.any((*VALUES, {"strategy": 5})), "constraints": w.any((*VALUES, {"x": 5})), w.any(("nme",
        5)): 5,
        "sampler": w.any(VALUES), "controls": w.any(VALUES), "objectives": w.any(VALUES),
        "tune": w.any(VALUES),
    }  # fmt: skip
    chosen = w.rng.sample(list(plans), w.rng.randrange(1, 3))
    plan = w.folder / "plan.yaml"
    plan.write_text(yaml.safe_dump({"methods": ["ewcc"], **{key: plans[key] for key in chosen}}))
    flags = (
        "--trials", "--seconds", "--tflops", "--tune", "--space", "--objective", "--constraint",
        "--sampler", "--pruner",
        "--storage", "--launcher", "--seeds", "--orders", "--controls", "--strategies", "--recipes",
        "--workers",
    )  # fmt: skip
    more = [f"{w.any(flags)}={w.any(TEXTS)}" for _ in range(w.rng.randrange(1, 3))]
    return [
        *words,
        *w.any((["--plan", str(plan)], ["--strategies", "ewcc", *more], [*more, "--strategies", "nothing"])),
    ]


def a_backbone(w: World) -> list[str]:
    model = w.copy("model")
    spoil(w.rng, w.any(sorted(path for path in model.iterdir() if path.is_file())))
    where = w.any(
        (f"local-dir:{model}", f"local-dir:{model}", f"local-dir:{w.any(TEXTS)}", w.any(TEXTS), "ViT-B-32")
    )
    extra = w.any(([], [f"--backbone.pretrained={w.any(TEXTS)}"]))
    return ["run", *SIZES, f"--backbone={where}", *extra, "--no-track", "--out", str(w.folder / "o")]


def a_picture_tree(w: World) -> list[str]:
    root = w.copy("pictures")
    paths = sorted(root.rglob("*"))
    path = w.any(paths)
    if path.is_file():
        spoil(w.rng, path)
    else:
        path.rename(path.with_name(w.any((LONG[:200], "Kleider (rot)", "é", " ", "a\nb", "%s", "..."))))
    words = ["--scenario", "domain_folders", "--scenario.train", "8", "--scenario.queries", "4"]
    words += [
        "--scenario.root",
        w.any((str(root), str(root), w.any(TEXTS), str(root / "photo"), "/dev/null", "/proc/self/fd")),
        "--probes",
        "none",
    ]
    more = w.any(([], [f"--scenario.{w.any(('words', 'order', 'bad_pictures', 'train'))}={w.any(TEXTS)}"]))
    tail = [
        "--backbone",
        f"local-dir:{w.model}",
        "--train.epochs",
        "1",
        "--no-track",
        "--out",
        str(w.folder / "o"),
    ]
    return ["run", *words, *more, *tail]


def a_store(w: World) -> list[str]:
    place = w.folder / "cache"
    (w.folder / "file").write_text("")
    shutil.copytree(os.environ["CLPLAT_CACHE"], place)
    files = sorted(path for path in place.rglob("*") if path.is_file())
    if files:
        spoil(w.rng, w.any(files))
    w.env["CLPLAT_CACHE"] = w.any((str(place), str(place), str(w.folder / "file"), "/proc/x", LONG, "\x7f"))
    w.env["CLPLAT_CACHE_LIMIT"] = w.any(
        ("1GB", "1GB", *(text for text in TEXTS if "\0" not in text and "\ud800" not in text))
    )
    action = w.any(("info", "verify", "clear", w.any(TEXTS)))
    return w.any((["cache", action], ["cache", "clear", "--older-than", w.any(TEXTS)], ["run", *w.small,
    "--no-track", "--out", str(w.folder / "o")]))  # fmt: skip


def a_pretraining(w: World) -> list[str]:
    source = w.folder / w.any(("s.jsonl", "s.csv", "s.tsv", "s.txt", "s"))
    good = f'{{"picture": "{w.pictures}/photo/cat/00.png", "caption": "a cat"}}\n'.encode() * 8
    source.write_bytes(
        w.any(
            [*CONTENTS, good, b"picture,caption\nx,y\n", b"a,b\n1\n", good[:40], b'{"picture": 5}\n', b"5\n"]
        )
    )
    config = w.folder / "model.json"
    shutil.copy(w.model / "open_clip_config.json", config)
    spoil(w.rng, config)
    words = ["pretrain", "--out", str(w.folder / "o"), "--pairs", "4", "--epochs", "1", "--batch-size", "4"]
    more = [
        ["--source", w.any((str(source), w.any(TEXTS)))],
        ["--config", str(config)],
        [f"{w.any(('--lr', '--seed', '--pairs', '--epochs', '--batch-size'))}={w.any(TEXTS)}"],
    ]
    return [*words, *(word for part in w.rng.sample(more, 2) for word in part)]


def a_list(w: World) -> list[str]:
    kind = w.any([*TEXTS, "recipes", "systems", "strategies", "strategy"])
    return w.any(
        (
            ["list", kind, w.any(TEXTS)],
            ["run", f"--{w.any(list(KINDS))}.help", w.any(TEXTS)],
            ["run", "--recipe", w.any(TEXTS)],
        )
    )


KINDS_OF_INPUT: dict[Callable[[World], list[str]], int] = {
    unknown_words: 6, a_value_of_an_option: 14, a_plain_option: 8, a_large_number: 4, a_part_name: 8,
    a_configuration: 8,
    a_run_folder: 14, a_checkpoint: 5, a_sweep_folder: 6, a_database: 5, an_output_folder: 6, a_port: 1,
    a_search: 6,
    a_sweep: 6, a_backbone: 6, a_picture_tree: 4, a_store: 4, a_pretraining: 5, a_list: 4,
}  # fmt: skip


# -- one input ----------------------------------------------------------------------------------------------


class Hang(BaseException):
    """An input took too long."""


@contextlib.contextmanager
def limited() -> Iterator[None]:
    """Stop what takes longer than `LIMIT`."""

    def stop(*_: Any) -> None:
        raise Hang(f"longer than {LIMIT:g} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, LIMIT)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def complaint(words: list[str]) -> str:
    """What is wrong with how a command ended; empty if nothing is."""
    out, err = io.StringIO(), io.StringIO()
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), limited():
            code = main(words)
    except SystemExit as stop:
        code = int(stop.code or 0) if not isinstance(stop.code, str) else 3
    except (Hang, Exception) as error:
        where = [
            frame
            for frame in traceback.extract_tb(error.__traceback__)
            if "clplat" in frame.filename or "scenarios" in frame.filename
        ]
        at = f"{Path(where[-1].filename).name}:{where[-1].lineno}" if where else ""
        return f"{type(error).__name__}: {' '.join(str(error).split())[:160]} ({at})"
    said = err.getvalue()
    if "Traceback" in said + out.getvalue():
        return f"prints a traceback: {said[-300:]}"
    told = any(line.startswith("clplat: ") for line in said.splitlines())
    if code == 2 and not told and "not logged" not in out.getvalue():
        return f"exit code 2 without a line that says why: {said[-300:]!r}"
    if code == 2 and max(map(len, said.splitlines()), default=0) > 2000:
        return f"a line of {max(map(len, said.splitlines()))} letters: {said[:200]}"
    return "" if code in (0, 1, 2) else f"exit code {code}"


def tried(
    world: World,
    number: int,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    kinds: Mapping[Callable[[World], list[str]], int],
) -> str:
    """Make the input of a number, give it to the command line, and say what is wrong with the answer."""
    rng = random.Random(f"{SEED} {number}")
    folder.mkdir()
    w = World(world.run, world.sweep, world.pictures, world.model, folder, rng)
    kind = rng.choices(list(kinds), list(kinds.values()))[0]
    words = kind(w)
    with monkeypatch.context() as patch:
        patch.chdir(folder)
        for name, value in w.env.items():
            patch.setenv(name, value)
        started = time.monotonic()
        wrong = complaint(words)
    shutil.rmtree(folder, ignore_errors=True)
    took = time.monotonic() - started
    shown = " ".join(
        repr(word) if len(word) < 80 else repr(word[:60]) + "..." for word in words if word not in SIZES
    )
    return (
        f"{number} {kind.__name__} {w.env or ''} clplat {shown}\n    {wrong} [{took:.1f} s]" if wrong else ""
    )


@pytest.fixture(scope="module")
def world(small_backbone: Path, tmp_path_factory: pytest.TempPathFactory, one_thread: None) -> World:
    root = tmp_path_factory.mktemp("world")
    for domain in ("photo", "sketch"):
        for c, category in enumerate(("cat", "dog", "owl")):
            for i in range(12):
                path = root / "pictures" / domain / category / f"{i:02d}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.new("RGB", (20, 20), (40 if domain == "photo" else 90, 60 * c, 7 * i)).save(path)
    world = World(root / "run", RELEASE / "sweep", root / "pictures", small_backbone, root)
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        assert main(["run", *world.small, "--no-track", "--out", str(world.run)]) == 0
    return world


#: What `make test` tries of it: the kinds that neither train nor open MLflow.
FEW = 40
CHEAP = {
    kind: weight
    for kind, weight in KINDS_OF_INPUT.items()
    if kind in (unknown_words, a_value_of_an_option, a_part_name, a_port, a_sweep, a_list, a_pretraining)
}


def test_some_inputs(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = [tried(world, number, tmp_path / str(number), monkeypatch, CHEAP) for number in range(FEW)]
    assert not any(said), "\n".join(filter(None, said))


@pytest.mark.slow
def test_the_whole(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = []
    for number in range(FIRST, FIRST + COUNT):
        if said := tried(world, number, tmp_path / str(number), monkeypatch, KINDS_OF_INPUT):
            wrong.append(said)
            print(said, flush=True)
    assert not wrong, f"{len(wrong)} of {COUNT}:\n" + "\n".join(wrong)
