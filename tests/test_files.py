"""Files at rest: whole or not there at all, readable as written, and no pickle."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open

from clplat.errors import UserError
from clplat.files import (
    load_tree,
    read_json,
    remove_leftovers,
    save_tree,
    write_atomically,
    write_json,
    write_text,
)


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


def test_a_path_that_cannot_be_a_file_is_told(tmp_path: Path) -> None:
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


PLAIN = (
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False)
    | st.text(max_size=8)
)
TENSORS = st.sampled_from(
    [
        torch.arange(6).view(2, 3),
        torch.tensor(1.5),
        torch.empty(0, 4),
        torch.ones(3, dtype=torch.bool),
        torch.full((2,), float("nan")),
        torch.arange(8, dtype=torch.uint8)[::2],
        torch.ones(2, dtype=torch.bfloat16),
    ]
)
KEYS = st.text(max_size=5) | st.integers(0, 9)
TREES = st.recursive(
    PLAIN | TENSORS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.tuples(inner, inner) | st.dictionaries(KEYS, inner, max_size=3)
    ),
    max_leaves=12,
)


def same(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor):
        equal = isinstance(b, torch.Tensor) and a.dtype == b.dtype and a.shape == b.shape
        return (
            equal and torch.equal(a.nan_to_num(7.0), b.nan_to_num(7.0))
            if a.is_floating_point()
            else torch.equal(a, b)
        )
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


@settings(max_examples=100, deadline=None)
@given(tree=TREES)
def test_a_tree_comes_back_as_it_was(tree: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("tree") / "x.safetensors"
    save_tree(path, tree)
    assert same(load_tree(path), tree)
    with safe_open(path, framework="pt") as file:  # readable by anybody's safetensors
        assert list(file.metadata()) == ["tree"]


def test_a_tree_keeps_tensors_that_share_memory(tmp_path: Path) -> None:
    whole = torch.arange(10.0)
    save_tree(tmp_path / "x", {"a": whole, "b": whole[2:4], "c": whole})
    found = load_tree(tmp_path / "x")
    assert torch.equal(found["b"], whole[2:4]) and torch.equal(found["c"], whole)


def test_a_tree_holds_no_objects(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="not PosixPath"):
        save_tree(tmp_path / "x", {"a": Path("b")})
    assert names(tmp_path) == []


@pytest.mark.parametrize("keep", [0, 4, 60, -1])
def test_a_cut_state_file_is_told(keep: int, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_tree(path, {"a": torch.arange(100)})
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UserError, match=r"x\.safetensors is not a readable state file"):
        load_tree(path)


def test_a_file_of_somebody_else_is_told(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"a": torch.ones(1)}, tmp_path / "x.safetensors")
    with pytest.raises(UserError, match="not a readable state file"):
        load_tree(tmp_path / "x.safetensors")
    with pytest.raises(UserError, match="not a readable state file"):
        load_tree(tmp_path / "missing.safetensors")
