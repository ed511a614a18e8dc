"""``clplat cache``: what the store holds, whether it is whole, and how to empty it."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from clplat import terminal
from clplat.cache.maintenance import in_words
from clplat.cache.store import Store
from clplat.cli import main

Capture = pytest.CaptureFixture[str]
KEYS: list[dict[str, Any]] = [
    {"what": "image", "tap": "pooled", "backbone": "ViT-B-32", "dtype": "float16", "shape": [8]},
    {"what": "pixels", "dtype": "uint8", "shape": [3, 4, 4]},
]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("CLPLAT_CACHE", str(tmp_path / "store"))
    monkeypatch.setenv("CLPLAT_CACHE_LIMIT", "2GB")
    store = Store.default()
    for count, key in enumerate(KEYS, start=2):
        values = torch.zeros(count, *key["shape"], dtype=getattr(torch, key["dtype"]))
        store.table(key).put([str(number) for number in range(count)], values)
    store.flush()
    return store


def segment(store: Store, place: int) -> Path:
    assert store.folder is not None
    (path,) = store.folder.glob(f"*/{store.table(KEYS[place]).digest}/*.safetensors")
    return path


def used(path: Path, days_ago: float) -> float:
    """Set when a segment was last used; returns it."""
    then = time.time() - 86400 * days_ago
    os.utime(path, (then, then))
    return then


def test_info_shows_what_was_used_last_first(store: Store, capsys: Capture) -> None:
    then = used(segment(store, 0), 3)
    assert main(["cache", "info"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["table", "what", "row", "rows", "size", "last", "used"]
    digests = [store.table(key).digest[:8] for key in KEYS]
    assert lines[1].startswith(f"{digests[1]}  pixels                 uint8 3x4x4     3")
    assert lines[2].startswith(f"{digests[0]}  image pooled ViT-B-32  float16 8       2")
    assert time.strftime("%Y-%m-%d", time.localtime(then)) in lines[2]
    assert lines[3].startswith("2 tables, ") and lines[3].endswith(f" of at most 2 GB in {store.folder}")
    assert len(lines) == 4


def test_info_in_a_terminal(store: Store, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminal, "plain_output", lambda: False)
    assert main(["cache", "info"]) == 0
    shown = capsys.readouterr().out
    assert "image pooled ViT-B-32" in shown and "───" in shown


def test_verify_names_what_is_damaged(store: Store, capsys: Capture) -> None:
    assert main(["cache", "verify"]) == 0
    assert capsys.readouterr().out.startswith("2 tables, ")
    path = segment(store, 1)
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content[:-1] + b"!")
    assert main(["cache", "verify"]) == 1
    told, advice = capsys.readouterr().out.splitlines()
    assert told.startswith(f"{path} has other bytes than were written")
    assert "delete these files" in advice and "clplat cache clear" in advice
    path.unlink()
    assert main(["cache", "verify"]) == 0


def test_clear_by_age_and_altogether(store: Store, capsys: Capture) -> None:
    old, size = segment(store, 0), segment(store, 0).stat().st_size
    used(old, 10)
    assert main(["cache", "clear", "--older-than", "11"]) == 0
    assert capsys.readouterr().out.startswith("freed 0 B\n2 tables")
    assert main(["cache", "clear", "--older-than", "9"]) == 0
    assert capsys.readouterr().out.startswith(f"freed {in_words(size)}\n1 table, ")
    assert not old.exists() and segment(store, 1).exists()
    assert main(["cache", "clear"]) == 0
    assert "0 tables, 0 B of at most 2 GB" in capsys.readouterr().out
    assert main(["cache", "info"]) == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["clean"], "unknown action 'clean'; did you mean 'clear'?"),
        (["info", "--older-than", "3"], "--older-than is for clplat cache clear"),
        (["clear", "--older-than", "-1"], "takes a whole number of at least 0, not '-1'"),
        ([], "ACTION"),
    ],
)
def test_mistakes_are_reported_in_a_line_and_free_nothing(
    words: list[str], said: str, store: Store, capsys: Capture
) -> None:
    assert main(["cache", *words]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
    assert segment(store, 0).exists() and segment(store, 1).exists()


def test_a_store_that_is_not_on_disk_is_reported(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CLPLAT_CACHE", str(tmp_path / "file"))
    assert main(["cache", "info"]) == 2
    assert f"cannot write to {tmp_path / 'file'}" in capsys.readouterr().err
    monkeypatch.setenv("CLPLAT_CACHE", str(tmp_path / "store"))
    monkeypatch.setenv("CLPLAT_CACHE_LIMIT", "0")
    assert main(["cache", "info"]) == 2
    assert "CLPLAT_CACHE_LIMIT is 0" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1 kB"),
        (9_949, "9.9 kB"),
        (9_950, "10 kB"),
        (999_499, "999 kB"),
        (999_500, "1 MB"),
        (2e13, "20 TB"),
        (2e16, "20000 TB"),
    ],
)
def test_sizes_in_words(size: float, words: str) -> None:
    assert in_words(size) == words
