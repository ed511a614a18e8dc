"""The command line: fast to start, complete in what it lists, plain where there is no terminal."""

from __future__ import annotations

import io
import json
import os
import re
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from clplat import registry
from clplat.cli import main
from clplat.errors import UserError
from clplat.kinds import KINDS
from clplat.terminal import Board, Terminal, plain_output

HEAVY = (
    "torch",
    "mlflow",
    "avalanche",
    "open_clip",
    "peft",
    "optuna",
    "rich",
    "pydantic",
    "matplotlib",
    "numpy",
)
Capture = pytest.CaptureFixture[str]

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def world(small_backbone: Path) -> dict[str, Any]:
    sizes = {"domains": 2, "train": 16, "queries": 20, "gallery": 20, "size": 16}
    return {
        "backbone": {"name": f"local-dir:{small_backbone}"},
        "scenario": {"name": "catalogue", **sizes},
        "train": {"epochs": 1, "batch_size": 8},
    }


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout


# -- start ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words", [["--help"], ["run", "--help"], ["sweep", "--help"], ["--version"], ["list", "x"]]
)
def test_help_loads_nothing_heavy(words: list[str]) -> None:
    shown = python(
        "import sys; from clplat.cli import main\n"
        f"try: main({words!r})\nexcept SystemExit: pass\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    assert shown.splitlines()[-1] == "[]"


def test_help_takes_less_than_a_second() -> None:
    command = [str(Path(sys.executable).parent / "clplat"), "--help"]
    spent = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(spent) < 1.0, "of computing, whatever else the machine does"


def test_help_names_every_command_and_how_to_go_on(capsys: Capture) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["--help"])
    assert stopped.value.code == 0
    shown = capsys.readouterr().out
    commands = ("demo", "run", "sweep", "compare", "ui", "list", "search", "track", "pretrain")
    assert all(f"    {name}" in shown for name in commands)
    for name in commands:
        with pytest.raises(SystemExit) as stopped:
            main([name, "--help"])
        assert stopped.value.code == 0
    assert "--strategy replay --strategy.size 200" in capsys.readouterr().out


def test_the_package_is_the_command() -> None:
    done = subprocess.run([sys.executable, "-m", "clplat", "--version"], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.startswith("clplat ")
    done = subprocess.run([sys.executable, "-m", "clplat", "rn"], capture_output=True, text=True)
    assert done.returncode == 2 and "did you mean 'run'" in done.stderr


# -- list and help ----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [kind.plural for kind in KINDS.values() if kind.plural])
def test_list_prints_one_line_each(kind: str, capsys: Capture) -> None:
    assert main(["list", kind]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == registry.names(kind)
    assert all(len(line.split(maxsplit=1)[1]) > 10 for line in lines)


def test_one_broken_package_does_not_hide_the_others(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def describe(kind: str, name: str) -> str:
        if name == "ewc":
            raise UserError("cannot load the strategy 'ewc'")
        return "fine"

    monkeypatch.setattr(registry, "describe", describe)
    assert main(["list", "strategies"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any("(cannot load the strategy 'ewc')" in line for line in lines) and len(lines) > 5


@pytest.mark.parametrize(
    "words",
    [
        "--strategy.help replay",
        "--strategy.help=replay",
        "--strategy replay --strategy.help",
        "--strategy.help replay x",
    ],
)
def test_help_on_a_part(words: str, capsys: Capture) -> None:
    assert main(["run", *words.split()]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("Experience replay") and "--strategy.size  a whole number (default: 200)" in shown


def test_help_on_a_group_and_on_a_slot(capsys: Capture) -> None:
    assert main(["run", "--train.help"]) == 0
    assert "--train.epochs  a whole number (default: 4)" in capsys.readouterr().out
    assert main(["run", "--composer.help"]) == 0
    assert "combiner" in capsys.readouterr().out
    assert main(["run", "--composr.help"]) == 2
    assert "did you mean 'composer'" in capsys.readouterr().err


def test_print_config_can_be_fed_back(tmp_path: Path, capsys: Capture) -> None:
    words = [
        "--strategy",
        "replay",
        "--strategy.size",
        "50",
        "--adapter",
        "lora",
        "--adapter.r",
        "4",
        "--seed",
        "3",
    ]
    assert main(["run", *words, "--print-config"]) == 0
    printed = capsys.readouterr().out
    file = tmp_path / "config.yaml"
    file.write_text(printed)
    assert main(["run", "--config", str(file), "--print-config"]) == 0
    assert capsys.readouterr().out == printed
    assert yaml.safe_load(printed)["adapter"]["r"] == 4
    assert main(["run", "--config", str(file), "--strategy.size", "60", "--print-config"]) == 0
    assert "size: 60" in capsys.readouterr().out


# -- commands ---------------------------------------------------------------------------------


def words_of(world: dict[str, Any]) -> list[str]:
    words = ["--backbone", world["backbone"]["name"]]
    for slot in ("scenario", "train"):
        for key, value in world[slot].items():
            words += [f"--{slot}" if key == "name" else f"--{slot}.{key}", str(value)]
    return words


def test_a_run_is_written_elsewhere_as_well_and_another_experiment_loses_nothing(
    world: dict[str, Any], tmp_path: Path, capsys: Capture
) -> None:
    words = [
        "run",
        *words_of(world),
        "--no-track",
        "--out",
        str(tmp_path / "run"),
        "--also",
        "csv,tensorboard",
    ]
    assert main([*words, "--strategy", "frozen"]) == 0, capsys.readouterr().err
    written = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    assert any("tfevents" in path.name for path in written) and tmp_path / "run" / "metrics.csv" in written
    assert main([*words, "--strategy", "naive"]) == 2
    assert "holds another experiment" in capsys.readouterr().err
    assert written == {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}


def test_run_prints_rows_a_table_and_where_the_result_is(
    world: dict[str, Any], tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["run", *words_of(world), "--strategy", "frozen", "--no-track"]) == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    lines = shown.out.splitlines()
    assert lines[0] == "frozen: 2 domains: dress-studio, top-sketch"
    assert lines.pop(1).startswith("frozen: the untrained model "), "it is at chance, and says so"
    assert [line.split()[1:4] for line in lines[1:4]] == [
        ["zero-shot", "R@5", "dress-studio"],
        *[["after", n, "R@5"] for n in "12"],
    ]
    assert lines[-1] == "result: runs/catalogue-frozen-full-sum-s0/result.json"
    assert not (tmp_path / "runs" / "mlflow.db").exists()
    assert main(["run", *words_of(world), "--strategy", "frozen", "--no-track"]) == 0, "done already"
    assert "zero-shot" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "part"),
    [
        ("--strategy replay --strategies ewc", "give --strategies to compare several, or --strategy for one"),
        ("--seed 3", "--seeds lists the seeds"),
        ("--seeds 1,x", "--seeds takes whole numbers by comma, not 'x'"),
        ("--also csv,tensorbord", "unknown writer 'tensorbord'; did you mean 'tensorboard'?"),
        ("--seeds 1,1", "'seeds' of a sweep names '1' more than once"),
        ("--strategies ewc,ewq", "unknown strategy 'ewq'"),
        ("--strategies ewc,naive --strategy.lam 3", "unknown option 'strategy.lam' of strategy 'naive'"),
        ("--seeds 0 --orders 2", "orders must be 1 to 1"),
        ("--tune adapter.r", "--tune is about tuning; give a budget"),
        ("--trials 2 --tune adaptr", "'adaptr' has no search space"),
        ("--trials 2 --search adaptr", "'adaptr' has no search space"),  # the older name of --tune
        ("--trials 2 --objective fnal", "did you mean 'final'"),
        ("--trials 2 --constraint forgetting>=3", "'forgetting' is better lower: a constraint on it is"),
        ("--trials 2 --space train.lr=3", "the search space of 'train.lr' is written"),
        ("--launcher slrum", "did you mean 'slurm'"),
        ("--trials 0", "at least 1, not '0'"),
        ("--workers 0", "at least 1, not '0'"),
        ("--worker 2", "did you mean '--workers'"),
    ],
)
def test_options_that_do_not_go_together(words: str, part: str, tmp_path: Path, capsys: Capture) -> None:
    assert main(["sweep", *words.split(), "--out", str(tmp_path / "sweep")]) == 2
    shown = capsys.readouterr().err
    assert part in shown and shown.count("\n") == 1
    assert not (tmp_path / "sweep").exists(), "nothing was begun"


def test_interrupted_by_hand(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("clplat.config.resolve.resolve", interrupt)
    assert main(["run"]) == 130
    assert capsys.readouterr().err == "clplat: interrupted; run the same command again to go on\n"


@pytest.mark.parametrize("words", ["--help", "list prompts"])
def test_a_reader_that_went_away_is_no_error(words: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [str(Path(sys.executable).parent / "clplat"), *words.split()]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert done.returncode == 0 and done.stderr == ""


# -- terminal ---------------------------------------------------------------------------------

NAMES = ["dress-studio", "top-sketch", "shoe-textured", "bag-dark", "coat-cluttered"]


def partial(names: list[str], rows: int) -> dict[str, Any]:
    return {
        "domains": names,
        "protocol": {"primary": "R@5"},
        "metrics": {"R@5": [[10.0 * row + column for column in range(len(names))] for row in range(rows)]},
        "measured": {"train_seconds": 1.0, "evaluation_seconds": 2.0},
        "status": "running",
    }


def test_plain_lines_are_never_wrapped(capsys: Capture) -> None:
    with Terminal() as terminal:
        board = terminal.listener("replay s0")
        board.started(partial(NAMES, 0))
        board.cell(0, 0, {"R@5": 1.0})
        board.progress(0, 1, 10)
        board.row(partial(NAMES, 1))
        board.note("a note [with brackets]")
        board.finished({**partial(NAMES, 1), "status": "complete"})
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4 and len(lines[1]) > 100
    assert lines[2] == "replay s0: a note [with brackets]"
    assert lines[3] == "replay s0: mean R@5 2.0 in 3 s"


def test_output_is_plain_without_a_terminal_or_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert plain_output(), "pytest's output is no terminal"
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    assert not plain_output()
    monkeypatch.setenv("NO_COLOR", "1")
    assert plain_output()
    monkeypatch.setenv("NO_COLOR", "")
    assert not plain_output(), "an empty NO_COLOR asks for nothing (no-color.org)"
    monkeypatch.setenv("TERM", "dumb")
    assert plain_output()


def drawn(boards: int, names: list[str], rows: int, width: int = 80, height: int = 24) -> list[str]:
    out = io.StringIO()
    console = Console(file=out, width=width, height=height, force_terminal=True, color_system=None)
    terminal = Terminal(boards + 1, console)
    for number in range(boards):
        board = terminal.listener(f"run {number}")
        board.started(partial(names, rows))
        board.cell(rows, 0, {"R@5": 77.7})
    console.print(terminal._draw())
    return out.getvalue().splitlines()


def test_the_matrix_fits_eighty_columns_and_fills_in() -> None:
    lines = drawn(1, NAMES, rows=2)
    text = "\n".join(lines)
    assert max(map(len, lines)) <= 80 and "…" not in text
    assert "run 0  R@5  measuring on dress-studio" in text and "[0/2]" in text
    found = {line.split()[0]: line.split()[1:] for line in lines if line.strip()}
    assert found["zero-shot"] == ["0.0", "1.0", "2.0", "3.0", "4.0"]
    assert found["top-sketch"] == ["77.7", "·", "·", "·", "·"]
    assert found["coat-cluttered"] == ["·"] * 5


@pytest.mark.parametrize(("boards", "count"), [(1, 36), (2, 36), (2, 8)])
def test_a_long_stream_is_shown_around_its_newest_row(boards: int, count: int) -> None:
    lines = drawn(boards, [f"domain-{i}" for i in range(count)], rows=6)
    assert len(lines) <= 24 and max(map(len, lines)) <= 80
    assert sum("77.7" in line for line in lines) <= boards
    assert sum(line.strip().startswith("domain-5 ") for line in lines) == boards


def test_the_board_of_a_finished_run_goes_away() -> None:
    console = Console(file=io.StringIO(), force_terminal=True)
    terminal = Terminal(2, console)
    board = terminal.listener("a")
    assert isinstance(board, Board)
    board.started(partial(NAMES, 0))
    assert list(terminal.boards) == ["a"]
    board.finished({**partial(NAMES, 1), "status": "failed"})
    assert terminal.boards == {} and terminal.done == 1


def test_the_time_that_is_left_follows_from_what_ran(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("clplat.terminal.time.monotonic", lambda: now[0])
    terminal = Terminal(6, Console(file=io.StringIO(), force_terminal=True))
    done = {**partial(NAMES, 1), "status": "failed"}
    assert terminal.count() == "[0/6]"
    terminal.listener("at hand").finished(done)  # it was complete before and took no time
    assert terminal.count() == "[1/6]"
    for label in ("a", "b"):
        board = terminal.listener(label)
        board.started(partial(NAMES, 0))
        now[0] += 30.0
        board.finished(done)
    assert terminal.count() == "[3/6] 1:30 left"
    now[0] += 4000.0
    assert terminal.count() == "[3/6] 1:41:30 left"
    assert Terminal(1, Console(file=io.StringIO(), force_terminal=True)).count() == ""


def test_plain_lines_say_how_far_a_sweep_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    terminal = Terminal(18)
    board = terminal.listener("replay s0")
    board.started(partial(NAMES, 1))
    board.finished({**partial(NAMES, 1), "status": "complete"})
    assert re.search(
        r"^replay s0: mean R@5 \S+ in \d+ s  \[1/18\] 0:\d\d left$", capsys.readouterr().out, re.M
    )


def test_a_sweep_whose_budget_is_time_says_how_many_it_did() -> None:
    terminal = Terminal(None, Console(file=io.StringIO(), force_terminal=True))
    terminal.over(True)
    assert terminal.count() == "[1]"


#: Runs each of the commands that it is given as JSON; prints a line of JSON about each.
ONE_BY_ONE = """
import contextlib, io, json, sys
from clplat.cli import main
for words in json.loads(sys.argv[1]):
    said, printed = io.StringIO(), io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(printed):
        code = main(["run", *words])
    loaded = sorted({'avalanche', 'open_clip', 'mlflow', 'peft'} & set(sys.modules))
    print(json.dumps([code, said.getvalue(), printed.getvalue(), loaded]))
"""


def test_what_is_not_there_is_told_before_libraries_are_loaded(tmp_path: Path) -> None:
    """In one process: most of what each takes is importing torch."""
    missing = {
        "--backbone vit-b-32": "unknown backbone 'vit-b-32'; did you mean 'ViT-B-32'?",
        "--backbone local-dir:/nowhere": "no such folder: /nowhere (it should hold open_clip_config",
        "--device gpu": "device 'gpu' cannot be used",
        "--scenario domain_folders --scenario.root /nowhere": "no such folder: /nowhere",
    }
    folders = [tmp_path / str(place) for place in range(len(missing))]
    commands = [
        [*words.split(), "--out", str(folder)] for words, folder in zip(missing, folders, strict=True)
    ]
    called = [sys.executable, "-c", ONE_BY_ONE, json.dumps(commands)]
    done = subprocess.run(called, capture_output=True, text=True, check=True)
    ends = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(ends) == len(missing) and not done.stderr
    for line, folder, (code, said, printed, loaded) in zip(missing.values(), folders, ends, strict=True):
        assert code == 2 and line in said and said.count("\n") == 1, said
        assert not printed and loaded == [] and not folder.exists()
