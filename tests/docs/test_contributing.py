"""The four steps of CONTRIBUTING.md, followed to the letter in an empty folder."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import zipfile
from pathlib import Path

from clplat.files import read_json

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
STEPS = PAGE[PAGE.index("## Add a strategy in four steps") : PAGE.index("## The same in this repository")]
FILES = dict(re.findall(r"^`([\w.]+)`:\n\n```\w+\n(.*?)^```$", STEPS, re.MULTILINE | re.DOTALL))
COMMANDS = re.findall(r"^```sh\n(.*?)\n```$", STEPS, re.MULTILINE)


# Both commands in one process: most of what each takes is importing torch and Avalanche.
DRIVER = """
import sys, pytest, clplat.cli
codes = [pytest.main({test}), clplat.cli.main({run})]
print("exit codes", *map(int, codes))
"""


def python(folder: Path, *words: str) -> str:
    """Run this environment's python in the folder, seeing what is installed there; its output."""
    home = {"HOME": str(folder), "OMP_NUM_THREADS": "1", "PYTHONPATH": str(folder / "installed")}
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")} | home
    command = [sys.executable, *words]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_page_has_the_four_steps() -> None:
    assert re.findall(r"^### (\d)\.", STEPS, re.MULTILINE) == ["1", "2", "3", "4"]
    assert list(FILES) == ["clplat_l2.py", "pyproject.toml", "test_clplat_l2.py"]
    assert [command.split()[0] for command in COMMANDS] == ["pip", "pytest", "clplat"]


def test_the_four_steps(tmp_path: Path) -> None:
    """One test, because the steps build on each other and each start of Python takes seconds."""
    for name, content in FILES.items():
        (tmp_path / name).write_text(content, encoding="utf-8")
    # `pip install .` without pip and without the network: build the wheel, unpack it where Python looks.
    python(tmp_path, "-m", "hatchling", "build", "-t", "wheel")
    with zipfile.ZipFile(next((tmp_path / "dist").glob("clplat_l2-*.whl"))) as wheel:
        wheel.extractall(tmp_path / "installed")
    (tmp_path / "clplat_l2.py").unlink()  # what is installed is what counts

    test, run = (shlex.split(command)[1:] for command in COMMANDS[1:])
    said = python(tmp_path, "-c", DRIVER.format(test=[*test, "-p", "no:cacheprovider"], run=run))
    passed = re.search(r"(\d+) passed", said)
    assert passed and int(passed.group(1)) > 10, said
    assert "skipped" not in said and "exit codes 0 0" in said, said

    result = read_json(tmp_path / "runs" / "l2" / "result.json")
    assert result["status"] == "complete" and result["config"]["strategy"] == {"name": "l2", "lam": 0.5}
    assert "l2" in result["training"] and len(result["domains"]) == 2


def test_the_rest_of_the_page_is_true() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"^    make ([\w-]+)", PAGE, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"make {target}"
    for link in re.findall(r"\]\(([\w/.]+)\)", PAGE):
        assert (ROOT / link).exists(), link
