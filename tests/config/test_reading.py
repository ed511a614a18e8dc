"""YAML as it is read: values are what they look like, no key is lost, and a mistake is one line."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from clplat.cli import main
from clplat.config.options import coerce
from clplat.config.raw import read_config
from clplat.config.reading import read_yaml, write_yaml, yaml_of
from clplat.config.recipes import parse_recipe
from clplat.config.resolve import resolve
from clplat.errors import UserError
from clplat.sweep import read_sweep


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("1:30", "1:30"),
        ("190:20:30.15", "190:20:30.15"),
        ("010", 10),
        ("0o17", 15),
        ("0x1F", 31),
        ("0b11", "0b11"),
        ("1_000", "1_000"),
        ("on", "on"),
        ("Off", "Off"),
        ("yes", "yes"),
        ("NO", "NO"),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("1e-3", 0.001),
        ("-.5", -0.5),
        ("2.", 2.0),
        ("2026-11-30", "2026-11-30"),
        ("=", "="),
        ("[no, 1:30, 08]", ["no", "1:30", 8]),
        ("{no: Norway, 1: one}", {"no": "Norway", 1: "one"}),
        ("'010'", "010"),
    ],
)
def test_a_value_is_what_it_looks_like(written: str, meant: Any) -> None:
    found = yaml_of(written)
    assert found == meant and type(found) is type(meant)


@pytest.mark.parametrize(
    ("kind", "given_", "meant"),
    [
        (bool, "on", True),
        (bool, "No", False),
        (str, "on", "on"),
        (str | None, "no", "no"),
        (bool | str, "off", "off"),
        (int | list[str], "[no, on]", ["no", "on"]),
        (dict[str, str], "{no: Norway}", {"no": "Norway"}),
    ],
)
def test_the_type_decides_what_yes_and_no_are(kind: Any, given_: str, meant: Any) -> None:
    assert coerce(kind, given_) == meant


@pytest.mark.parametrize(("kind", "given_"), [(float, "1:30"), (int, "1:30"), (int, "0b1"), (float, "yes")])
def test_a_time_is_no_number(kind: Any, given_: str) -> None:
    with pytest.raises(ValueError, match=r"takes a (whole )?number, not"):
        coerce(kind, given_)


def test_minutes_are_no_learning_rate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--train.lr", "1:30", "--print-config"]) == 2
    assert "option 'train.lr' takes a number, not '1:30'" in capsys.readouterr().err
    (tmp_path / "a.yaml").write_text("train: {lr: 1:30}\n")
    with pytest.raises(UserError, match=r"'train\.lr' takes a number, not '1:30'"):
        resolve(read_config(tmp_path / "a.yaml"))
    (tmp_path / "b.yaml").write_text("features: off\ntrain: {epochs: 010, compile: off}\n")
    made = resolve(read_config(tmp_path / "b.yaml"))
    assert (made.features, made.train.epochs, made.train.compile) == ("off", 10, False)
    with pytest.raises(UserError, match=r"the budget's seconds takes a number or null, not '1:30'"):
        read_sweep({"budget": {"seconds": "1:30"}})


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            "seed: 1\ntrain:\n  lr: 0.1\n  epochs: 2\n  lr: 0.2\n",
            "line 5: 'lr' is given twice, in line 3 too",
        ),
        ("seed: 1\nseed: 1\n", "line 2: 'seed' is given twice, in line 1 too"),
        ("train: {lr: 1, epochs: 1}\ntrain.lr: 3\n", "'train.lr' is given twice: 1 and 3"),
        ("a: [", "line 1: "),
        ("a: &x [*x]\n", "line 1: a value contains itself"),
        ("? [a]\n: 1\n", "line 1: "),
        ("- a\n", "holds list, not a mapping"),
        ("%TAG ! x\n", "line "),
        ("a: !!python/name:os.system\n", "line 1: "),
        ("a: \x01\n", "is not valid YAML: "),
        ("a: !!int x\n", "line 1: "),
        ("a: !!binary \xe4\n", "line 1: "),
        ("a: !!float ''\n", "line 1: "),
    ],
)
def test_a_mistake_in_a_file_is_one_line_with_its_place(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(UserError) as told:
        read_config(path)
    assert said in str(told.value) and str(path) in str(told.value) and "\n" not in str(told.value)
    for reader in (read_sweep, parse_recipe):
        with pytest.raises(UserError) as told:
            reader(path)
        assert str(path) in str(told.value) or "key of a sweep" in str(told.value)


def test_a_key_of_a_mapping_on_the_command_line_is_given_once(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--scenario", "domain_folders", "--scenario.root", "x", "--scenario.words", "{a: b, a: c}"]
    assert main(["run", *words, "--print-config"]) == 2
    assert "option 'scenario.words'" in capsys.readouterr().err
    assert main(["sweep", "--trials", "1", "--space", "train.lr={low: 1, low: 2, high: 3}"]) == 2
    assert "'low' is given twice" in capsys.readouterr().err


def test_deep_and_huge_files_are_refused_at_once(tmp_path: Path) -> None:
    bomb = "a: &a [1,1,1,1,1,1,1,1,1]\n" + "".join(
        f"{chr(98 + i)}: &{chr(98 + i)} [{','.join(['*' + chr(97 + i)] * 9)}]\n" for i in range(12)
    )
    for content in ("[" * 20_000, "a: " + "{a: " * 5_000, bomb, "a: " + "x" * 10_000_000):
        (tmp_path / "bad.yaml").write_text(content)
        start = time.monotonic()
        with pytest.raises(UserError, match=r"bad\.yaml"):
            read_config(tmp_path / "bad.yaml")
        assert time.monotonic() - start < 10
    with pytest.raises(ValueError, match="takes a number, not"):
        coerce(float, "[" * 20_000)


def test_names_of_a_value_may_be_used_again(tmp_path: Path) -> None:
    text = "base: &a {seed: 1, device: cpu}\nmore: {<<: *a, seed: 2}\nsame: *a\n"
    assert yaml_of(text) == {
        "base": {"seed": 1, "device": "cpu"},
        "more": {"seed": 2, "device": "cpu"},
        "same": {"seed": 1, "device": "cpu"},
    }


TEXT = st.text("019eoxb:.-+_ynoNfFtTrRuUeE~=<", max_size=6)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)


@given(PLAIN)
def test_what_is_written_is_read_as_it_was_by_this_and_other_readers(value: Any) -> None:
    assert yaml_of(write_yaml(value)) == value == yaml.safe_load(write_yaml(value))


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "bytes.yaml").write_bytes(b"a: \xff\n")
    with pytest.raises(UserError, match="is not valid YAML: "):
        read_yaml(tmp_path / "bytes.yaml", "the configuration")
    with pytest.raises(UserError, match=r"cannot read the plan .*: Is a directory"):
        read_yaml(tmp_path, "the plan")
