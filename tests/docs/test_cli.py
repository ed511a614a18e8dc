"""docs/cli.md against ``--help``: every command and option is there, and no other."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import yaml

from clplat.cli import _parser, main
from clplat.config.parse import parse_arguments
from clplat.config.resolve import resolve
from clplat.kinds import KINDS
from clplat.sweep.flags import from_flags
from clplat.sweep.layout import Layout

PAGE = (Path(__file__).parents[2] / "docs" / "cli.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## ([a-z ]+)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))


def help_of(*words: str, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as stop:
        main([*words, "--help"])
    assert stop.value.code == 0
    return capsys.readouterr().out


def commands(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return re.findall(r"^    ([a-z]+) ", help_of(capsys=capsys), re.MULTILINE)


def test_every_command_and_option_is_on_the_page(capsys: pytest.CaptureFixture[str]) -> None:
    known = set()
    for command in commands(capsys):
        section = next((text for title, text in SECTIONS.items() if command in title.split()), PAGE)
        assert f"clplat {command}" in PAGE, command
        options = help_of(command, capsys=capsys).partition("options:\n")[2].partition("\n\n")[0]
        found = re.findall(r"^  (?:-h, )?--([a-z\-]+)", options, re.MULTILINE)
        assert found, command
        for option in set(found) - {"help"}:
            assert f"--{option}" in section, f"{command} --{option}"
        known |= set(found)
    mentioned = set(re.findall(r"--([a-z\-]+)(?![a-z.\-])", PAGE))
    assert mentioned - known <= {*KINDS, "seed", "config", "recipe"}


def test_the_slots_and_kinds_are_listed() -> None:
    listed = re.search(r"^Slots: (.*?)\.\s+Groups", PAGE, re.MULTILINE | re.DOTALL)
    assert listed
    assert re.findall(r"`(\w+)`", listed.group(1)) == list(KINDS)
    for kind in filter(None, (kind.plural for kind in KINDS.values())):
        assert kind in PAGE


def test_the_options_of_the_examples_exist() -> None:
    lines = re.findall(
        r"^clplat ((?:run|sweep) .*?)(?: +#.*| > .*)?$", PAGE.replace("\\\n", ""), re.MULTILINE
    )
    parser, _ = _parser()
    checked = 0
    for line in lines:
        if ".help" in line or "--config mine.yaml" in line:
            continue
        options, rest = parser.parse_known_args(shlex.split(line))
        raw = parse_arguments(rest)
        if options.command == "sweep" and options.plan is None:
            Layout(from_flags(options, raw | {"scenario": {"name": "catalogue"}}))
        checked += 1
    assert checked >= 12


def test_the_configurations_of_the_page_resolve() -> None:
    blocks = [yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)]
    assert len(blocks) == 2
    for block in blocks:
        resolve({key: value for key, value in block.items() if key != "about"})
