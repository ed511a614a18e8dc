"""Rules of the suite itself: shares for several machines, and a limit of CPU time for contract tests."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from clplat.testing import ComposerContract

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted(path for path in (ROOT / "tests").rglob("*.py"))


@pytest.fixture
def conftest(request: pytest.FixtureRequest) -> Any:
    found = request.config.pluginmanager.get_plugin(str(ROOT / "tests" / "conftest.py"))
    assert found is not None
    return found


class Config:
    """A run with ``--shard``."""

    rootpath = ROOT

    def __init__(self, shard: str) -> None:
        self.shard = shard

    def getoption(self, name: str) -> str:
        assert name == "--shard"
        return self.shard


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_every_file_is_in_one_share(conftest: Any, count: int) -> None:
    configs = [Config(f"{number}/{count}") for number in range(1, count + 1)]
    shares = [{p for p in FILES if not conftest.pytest_ignore_collect(p, config)} for config in configs]
    assert set().union(*shares) == set(FILES) and sum(map(len, shares)) == len(FILES)
    assert min(map(len, shares)) > len(FILES) / count / 3, "the shares are about equal"


def test_folders_are_in_every_share(conftest: Any) -> None:
    assert not any(
        conftest.pytest_ignore_collect(ROOT / "tests" / "docs", Config(f"{i}/3")) for i in (1, 2, 3)
    )


def test_files_that_begin_first_exist(conftest: Any) -> None:
    assert [file for file in conftest.LONG if not (ROOT / "tests" / file).exists()] == []


def test_a_share_is_the_same_on_every_machine(conftest: Any) -> None:
    assert [conftest.shard_of(f"tests/{name}.py", 3) for name in ("a", "b", "c", "d")] == [1, 3, 1, 3]


@pytest.mark.parametrize("shard", ["0/3", "4/3", "3", "a/b", "1/0", "-1/3"])
def test_a_share_that_is_none_is_reported(conftest: Any, shard: str) -> None:
    with pytest.raises(pytest.UsageError, match=re.escape(f"such as 1/3, not '{shard}'")):
        conftest.pytest_ignore_collect(ROOT / "tests" / "test_suite.py", Config(shard))


def test_the_contract_tests_of_a_part_have_a_limit(conftest: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class TestBusy(ComposerContract):
        """Its tests take three seconds each."""

    clock = iter([0.0, 3.0, 10.0, 13.0, 20.0, 23.0])
    monkeypatch.setattr(conftest, "SPENT", conftest.SPENT.__class__())
    monkeypatch.setattr(conftest.time, "process_time", lambda: next(clock))

    def call(part: str) -> None:
        item = SimpleNamespace(cls=TestBusy, callspec=SimpleNamespace(id=part), user_properties=[])
        hook = conftest.pytest_runtest_call(item)
        next(hook)
        with pytest.raises(StopIteration):
            hook.send(None)

    call("busy")
    call("other")
    with pytest.raises(pytest.fail.Exception, match=r"of TestBusy\[busy\] take more than 5 s of one core"):
        call("busy")


def test_other_tests_have_none(conftest: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conftest.time, "process_time", lambda: pytest.fail("measured"))
    for cls in (None, type("TestMine", (), {})):
        hook = conftest.pytest_runtest_call(SimpleNamespace(cls=cls))
        next(hook)
        with pytest.raises(StopIteration):
            hook.send(None)


def test_parts_that_cost_much_are_listed(conftest: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What each worker measures travels in the reports of its tests."""
    monkeypatch.setattr(conftest, "COSTS", {})
    costs = [("contract", "A[x]", 1.0, 40), ("contract", "A[x]", 0.75, 2), ("contract", "A[y]", 0.5, 9)]
    for cost in [*costs, ("recipe", "[clip]", 0.5, 3)]:
        properties = [("cost", [*cost]), ("other", 1)]
        for when in ("call", "teardown"):
            conftest.pytest_runtest_logreport(SimpleNamespace(when=when, user_properties=properties))
    lines: list[str] = []
    terminal = SimpleNamespace(section=lines.append, line=lines.append)
    conftest.pytest_terminal_summary(terminal)
    assert lines == ["contracts: 2 s of CPU for 2; above 1.2 s", "  1.8 s     42 backward passes  A[x]"]
