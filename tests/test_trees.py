"""Trees of tensors: they come back as they were, in files that any safetensors reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open

from clplat.errors import UserError
from clplat.trees import load_tree, save_tree


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*"))


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
    with safe_open(path, framework="pt") as file:  # readable by plain safetensors
        assert sorted(file.metadata()) == ["crc32", "tree"]


def test_a_tree_keeps_tensors_that_share_memory(tmp_path: Path) -> None:
    whole = torch.arange(10.0)
    save_tree(tmp_path / "x", {"a": whole, "b": whole[2:4], "c": whole})
    found = load_tree(tmp_path / "x")
    assert torch.equal(found["b"], whole[2:4]) and torch.equal(found["c"], whole)


def test_tensors_lie_in_memory_as_new_ones_do(tmp_path: Path) -> None:
    """A product adds in an order that depends on where its factors begin: a resumed run would differ."""
    path, made = tmp_path / "state.safetensors", [torch.ones(n) for n in (3, 5, 16, 1)]
    save_tree(path, made)
    aligned = [tensor.data_ptr() % 64 == 0 for tensor in made]
    assert all(aligned), "torch itself does not begin at multiples of 64 bytes: compare with what it does"
    assert [tensor.data_ptr() % 64 == 0 for tensor in load_tree(path)] == aligned


def test_a_tree_holds_no_objects(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="not PosixPath"):
        save_tree(tmp_path / "x", {"a": Path("b")})
    assert names(tmp_path) == []


@pytest.mark.parametrize("keep", [0, 4, 60, -1])
def test_a_cut_state_file_is_reported(keep: int, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_tree(path, {"a": torch.arange(100)})
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UserError, match=r"x\.safetensors is not a readable state file"):
        load_tree(path)


def test_a_foreign_file_is_reported(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"a": torch.ones(1)}, tmp_path / "x.safetensors")
    with pytest.raises(UserError, match="not a readable state file"):
        load_tree(tmp_path / "x.safetensors")
    with pytest.raises(UserError, match="not a readable state file"):
        load_tree(tmp_path / "missing.safetensors")
