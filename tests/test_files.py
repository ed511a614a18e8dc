"""Files at rest: whole or not there at all, as they were written or refused, and no pickle."""

from __future__ import annotations

import errno
import json
import os
import random
import re
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from clplat.config.reading import write_yaml, yaml_of
from clplat.errors import UserError
from clplat.files import (
    is_as_written,
    read_json,
    read_text,
    remove_leftovers,
    write_atomically,
    write_checked,
    write_json,
    write_text,
)
from clplat.trees import load_tree, save_tree


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*"))


def no_space(*_: Any, **__: Any) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "somewhere")


def test_folders_are_made_and_nothing_else_is_left(tmp_path: Path) -> None:
    write_text(tmp_path / "a" / "b" / "note.txt", "é\n")
    assert names(tmp_path) == ["a", "b", "note.txt"]
    assert (tmp_path / "a" / "b" / "note.txt").read_text(encoding="utf-8") == "é\n"


@pytest.mark.parametrize("where", ["write", "replace", "open"])
def test_a_full_disk_leaves_what_was_there(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "result.json"
    write_json(path, {"rows": 1})
    target = {"replace": "clplat.files.os.replace", "open": "clplat.files.os.open"}.get(where)
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
    first, _, rest = path.read_text().removeprefix("{\n").partition("\n")
    assert re.fullmatch(r'  "\$crc32": "[0-9a-f]{8}",', first)
    assert rest == '  "a": [\n    null,\n    0.1\n  ],\n  "b": 1\n}\n'
    with pytest.raises(ValueError):
        write_json(path, {"a": float("nan")})
    assert read_json(path) == {"a": [None, 0.1], "b": 1}


@pytest.mark.parametrize("content", [b"{", b"", b"\xff\xfe", b"{'a': 1}"])
def test_broken_json_is_a_line_that_names_the_file(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"x\.json is no JSON"):
        read_json(path)
    with pytest.raises(UserError, match="no such file"):
        read_json(tmp_path / "y.json")


def test_files_and_locks_load_no_torch() -> None:
    code = "import sys, clplat.files, clplat.locks; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


# -- checksums: what is read back is what was written, or refused -----------------------------------------


def as_yaml(path: Path, value: Any) -> None:
    write_text(path, write_yaml(value), comment="#")


def from_yaml(path: Path) -> Any:
    try:
        return yaml_of(read_text(path))
    except ValueError as error:
        raise UserError(f"{path}: {' '.join(str(error).split())}") from None


#: How each kind of file is written, and read back.
KINDS: dict[str, tuple[Callable[[Path, Any], None], Callable[[Path], Any]]] = {
    "x.json": (write_json, read_json),
    "x.yaml": (as_yaml, from_yaml),
    "x.safetensors": (save_tree, load_tree),
}
VALUE = {"b": [1, None, 0.125], "a": {"word": "é", "$crc32": "0badcafe"}, "n": 37}


@pytest.mark.parametrize("name", KINDS)
def test_every_flipped_byte_is_detected_or_harmless(name: str, tmp_path: Path) -> None:
    write, read = KINDS[name]
    path, dice = tmp_path / name, random.Random(0)
    write(path, VALUE)
    content = path.read_bytes()
    assert read(path) == VALUE and is_as_written(path)
    found = 0
    for place in range(len(content)):
        other = bytes([content[place] ^ dice.randrange(1, 256)])
        path.write_bytes(content[:place] + other + content[place + 1 :])
        try:
            got = read(path)
        except UserError as error:
            assert str(path) in str(error) and "\n" not in str(error)
            found += 1
        else:
            assert {key: got[key] for key in VALUE} == VALUE, place
    assert found > len(content) - 40, "only the words before the checksum and its digits are free to change"


@pytest.mark.parametrize("name", KINDS)
def test_the_same_content_is_the_same_bytes(name: str, tmp_path: Path) -> None:
    write, _ = KINDS[name]
    for folder in ("one", "two"):
        write(tmp_path / folder / name, VALUE)
    assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_files_without_a_checksum_are_taken_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text('{"a": 1}')
    (tmp_path / "y.json").write_text("[1, 2]")
    (tmp_path / "x.yaml").write_text("# crc32: by hand\na: 1\n")
    (tmp_path / "empty").write_text("")
    assert read_json(tmp_path / "x.json") == {"a": 1} and read_json(tmp_path / "y.json") == [1, 2]
    assert read_text(tmp_path / "x.yaml").endswith("a: 1\n") and read_text(tmp_path / "empty") == ""
    for name in ("x.safetensors", "y.safetensors"):
        tree = {"tree": json.dumps({"$dict": [["a", {"$tensor": "0"}]]})} if name[0] == "x" else None
        save_file({"0": torch.ones(2)}, tmp_path / name, tree)
    assert torch.equal(load_tree(tmp_path / "x.safetensors")["a"], torch.ones(2))


def test_what_was_changed_by_hand_says_how_to_use_it(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    write_json(path, {"lr": 1})
    path.write_text(path.read_text().replace('"lr": 1', '"lr": 2'))
    with pytest.raises(UserError, match=r"result\.json is damaged.*delete the line with its checksum"):
        read_json(path)
    path.write_text("".join(line for line in path.read_text().splitlines(True) if "crc32" not in line))
    assert read_json(path) == {"lr": 2}


def test_there_must_be_a_place_for_a_checksum(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no place for a checksum in x"):
        write_checked(tmp_path / "x", b"something")


# -- who may read, and what a power failure leaves ---------------------------------------------------------


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_the_umask_is_respected(umask: int, mode: int, tmp_path: Path) -> None:
    before = os.umask(umask)
    try:
        write_json(tmp_path / "x.json", {})
        write_atomically(tmp_path / "secret", lambda path: path.write_text("x"), mode=0o600)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "x.json").stat().st_mode) == mode
    assert stat.S_IMODE((tmp_path / "secret").stat().st_mode) == 0o600


def test_the_folder_is_on_disk_when_the_file_is_renamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    replace, sync = os.replace, os.fsync

    def replacing(*names: Any) -> None:
        done.append("renamed")
        replace(*names)

    def syncing(handle: int) -> None:
        done.append("folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "file")
        sync(handle)

    monkeypatch.setattr("clplat.files.os.replace", replacing)
    monkeypatch.setattr("clplat.files.os.fsync", syncing)
    write_json(tmp_path / "x.json", {})
    assert done == ["file", "renamed", "folder"]


def test_a_planted_link_is_replaced_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("text")
    (tmp_path / "x.json").symlink_to(tmp_path / "precious")
    write_json(tmp_path / "x.json", {"a": 1})
    assert (tmp_path / "precious").read_text() == "text" and read_json(tmp_path / "x.json") == {"a": 1}


def test_a_long_name_can_be_written(tmp_path: Path) -> None:
    write_text(tmp_path / ("n" * 255), "x")
    assert names(tmp_path) == ["n" * 255]


def test_a_damaged_backbone_or_adapter_is_refused(tmp_path: Path) -> None:
    """Their files are those of open_clip and PEFT, which pass over the checksum."""
    import warnings

    import peft

    from clplat.models import loading
    from clplat.parts.adapters.peft import LoRA, load_adapter
    from clplat.testing import tiny_backbone

    backbone, adapter = tiny_backbone(), LoRA(r=2)
    backbone.save(tmp_path / "backbone")
    adapter.attach(backbone)
    adapter.save(backbone, tmp_path / "adapter")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        peft.LoraConfig.from_pretrained(str(tmp_path / "adapter"))
    for path in (tmp_path / "backbone" / loading.WEIGHTS, tmp_path / "adapter" / "adapter_model.safetensors"):
        content = path.read_bytes()
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(UserError, match=r"open_clip_model\.safetensors is damaged"):
        loading.load(f"local-dir:{tmp_path / 'backbone'}", None)
    with pytest.raises(UserError, match=r"adapter_model\.safetensors is not readable: it is damaged"):
        load_adapter(tiny_backbone(), tmp_path / "adapter")
