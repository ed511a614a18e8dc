"""Files at rest: whole or not there at all, readable as written, and no pickle."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from clplat.errors import UserError
from clplat.files import read_json, remove_leftovers, write_atomically, write_json, write_text
from clplat.trees import load_tree, save_tree


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*"))


def no_space(*_: Any, **__: Any) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "somewhere")


def test_folders_are_made_and_nothing_else_is_left(tmp_path: Path) -> None:
    write_text(tmp_path / "a" / "b" / "note.txt", "é\n")
    assert names(tmp_path) == ["a", "b", "note.txt"]
    assert (tmp_path / "a" / "b" / "note.txt").read_text(encoding="utf-8") == "é\n"


@pytest.mark.parametrize("where", ["write", "replace", "mkstemp"])
def test_a_full_disk_leaves_what_was_there(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "result.json"
    write_json(path, {"rows": 1})
    target = {"replace": "clplat.files.os.replace", "mkstemp": "clplat.files.tempfile.mkstemp"}.get(where)
    if target:
        monkeypatch.setattr(target, no_space)
    with pytest.raises(UserError, match="No space left on device") as caught:
        if target:
            write_json(path, {"rows": 2})
        else:
            write_atomically(path, no_space)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    monkeypatch.undo()
    assert read_json(path) == {"rows": 1}
    assert names(tmp_path) == ["result.json"]


def test_any_other_error_of_the_writer_also_leaves_nothing(tmp_path: Path) -> None:
    def write(path: Path) -> None:
        path.write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "x", write)
    assert names(tmp_path) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 256 kB, where we may mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip(f"cannot mount a small disk: {mounted.stderr.decode().strip()}")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_disk_that_is_really_full(small_disk: Path) -> None:
    path = small_disk / "state.safetensors"
    save_tree(path, {"weights": torch.ones(1000)})
    with pytest.raises(UserError, match="No space left on device"):
        save_tree(path, {"weights": torch.ones(1_000_000)})
    assert torch.equal(load_tree(path)["weights"], torch.ones(1000))
    assert names(small_disk) == ["state.safetensors"]
    with pytest.raises(UserError, match="No space left on device"):
        write_text(small_disk / "long.txt", "x" * 1_000_000)
    save_tree(path, {"weights": torch.zeros(1000)})  # there is room again
    assert torch.equal(load_tree(path)["weights"], torch.zeros(1000))


def test_a_path_that_cannot_be_a_file_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="could not write"):
        write_text(tmp_path / "file" / "below.txt", "")
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match="could not write"):
        write_text(tmp_path / "folder", "")


def test_leftovers_of_killed_writers_are_removed_and_nothing_else(tmp_path: Path) -> None:
    write_text(tmp_path / "sub" / "result.json", "whole")
    child = os.fork()
    if child == 0:
        write_atomically(tmp_path / "sub" / "result.json", lambda path: os._exit(9))
    assert os.waitpid(child, 0)[1] == 9 << 8
    (tmp_path / ".hidden").write_text("")
    (tmp_path / "work.tmp").write_text("")
    assert len(names(tmp_path)) == 5, "the child left its temporary file"
    remove_leftovers(tmp_path)
    assert names(tmp_path) == [".hidden", "result.json", "sub", "work.tmp"]
    assert (tmp_path / "sub" / "result.json").read_text() == "whole"


def test_json_is_stable_and_strict(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write_json(path, {"b": 1, "a": [None, 0.1]})
    assert path.read_text() == '{\n  "a": [\n    null,\n    0.1\n  ],\n  "b": 1\n}\n'
    with pytest.raises(ValueError):
        write_json(path, {"a": float("nan")})
    assert read_json(path) == {"a": [None, 0.1], "b": 1}


@pytest.mark.parametrize("content", [b"{", b"", b"\xff\xfe", b"{'a': 1}"])
def test_broken_json_is_a_line_that_names_the_file(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"x\.json is not readable JSON"):
        read_json(path)
    with pytest.raises(UserError, match="no such file"):
        read_json(tmp_path / "y.json")


def test_files_and_locks_load_no_torch() -> None:
    code = "import sys, clplat.files, clplat.locks; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
