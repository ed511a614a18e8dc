"""The examples run from anywhere, and print what the documentation says about them."""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

from clplat.scenarios import Catalogue, Triplets

EXAMPLES = Path(__file__).resolve().parents[2] / "docs" / "examples"
# One process for all: most of what each takes is importing torch.
DRIVER = (
    "import runpy, sys; [(print(f'== {p}'), runpy.run_path(p, run_name='__main__')) for p in sys.argv[1:]]"
)


def scores(text: str) -> dict[str, tuple[float, float]]:
    """The accuracy on both tasks, by strategy."""
    lines = re.findall(r"^(\w+) +task 1: +([\d.]+) % +task 2: +([\d.]+) %$", text, re.MULTILINE)
    assert len(lines) == len(text.strip().splitlines()), text
    return {name: (float(first), float(second)) for name, first, second in lines}


def test_all_examples_run_from_an_empty_folder_and_print_what_they_claim(tmp_path: Path) -> None:
    paths = [str(path) for path in sorted(EXAMPLES.glob("*.py")) if path.stem != "drawn_table"]
    environment = {**os.environ, "HOME": str(tmp_path), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", DRIVER, *paths]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    parts = re.split(r"^== .*/(\w+)\.py$\n", done.stdout, flags=re.MULTILINE)[1:]
    found = {name: scores(text) for name, text in zip(parts[::2], parts[1::2], strict=True)}
    assert set(found) == {"plain_torch", "avalanche_template"}, "an example without a test"

    plain, template = found["plain_torch"], found["avalanche_template"]
    assert list(plain) == ["Naive", "EWC", "Replay"]
    for name in ("EWC", "Replay"):
        assert plain["Naive"][0] < 50 < 75 < plain[name][0], f"{name} remembers, Naive does not"
        assert plain["Naive"][1] > 90 and plain[name][1] > 75, "both learn the second task"
    assert list(template) == ["none", "EWC", "Replay"]
    assert template["none"][0] < 50 < 75 < min(template["EWC"][0], template["Replay"][0])
    assert all(second > 75 for _, second in template.values())


def test_a_table_of_drawn_pictures_is_the_stream_that_it_was_made_of(tmp_path: Path) -> None:
    sizes = {"domains": 2, "train": 6, "queries": 4, "gallery": 20, "size": 16}
    table = runpy.run_path(str(EXAMPLES / "drawn_table.py"))["write"](tmp_path, **sizes)
    own, drawn = Triplets(str(table)).build()[0], Catalogue(**sizes).build()[0]
    assert [domain.name for domain in own] == [domain.name for domain in drawn]
    for one, other in zip(own, drawn, strict=True):
        assert [e.query.text for e in one.train] == [e.query.text for e in other.train]
        for split in ("val", "test"):
            told, asked = one.sets[split].queries, other.sets[split].queries
            assert [(q.text, len(q.targets)) for q in told] == [(q.text, len(q.targets)) for q in asked]
    first = own[0].train[0].query.picture, drawn[0].train[0].query.picture
    assert first[0].load().tobytes() == first[1].load().tobytes()


def test_plain_torch_is_forty_lines() -> None:
    assert len((EXAMPLES / "plain_torch.py").read_text(encoding="utf-8").splitlines()) <= 40
