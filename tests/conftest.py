"""What many tests share: a feature store, a small backbone; and rules: shards, CPU time of contract tests."""

from __future__ import annotations

import atexit
import gc
import logging
import os
import random
import sys
import time
import zlib
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from functools import cache, lru_cache, wraps
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# How long an example takes says something about the machine only.
settings.register_profile("tests", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")


@pytest.fixture(scope="session", autouse=True)
def _own_feature_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nothing that a test computes reaches the user's own store, or comes from it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLPLAT_CACHE", str(tmp_path_factory.mktemp("features")))
        yield


@pytest.fixture(scope="session", autouse=True)
def _no_power_cuts() -> Iterator[None]:
    """Nothing here must survive a power cut: waiting for the disk is a third of what a tiny run takes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda handle: None)
        yield


@pytest.fixture(scope="session", autouse=True)
def _drawn_once() -> Iterator[None]:
    """Runs of many tests show the same pictures: drawing them is half of a tiny run with an empty store."""
    from scenarios._catalogue import domains, styles

    kept = lru_cache(maxsize=5000)(styles.render)

    @wraps(styles.render)  # pictures that go to another process name it
    def render(*what: Any) -> Any:
        return kept(*what).copy()

    with pytest.MonkeyPatch.context() as patch:
        for place in (styles, domains):
            patch.setattr(place, "render", render)
        yield


@pytest.fixture(scope="session", autouse=True)
def _no_logs() -> Iterator[None]:
    """What libraries log goes nowhere, as under pytest's own plugin for that (pyproject.toml)."""
    nowhere, root = logging.NullHandler(), logging.getLogger()
    root.addHandler(nowhere)
    yield
    root.removeHandler(nowhere)


@pytest.fixture(autouse=True)
def _same_draws(request: pytest.FixtureRequest) -> None:
    """What a test draws without a generator of its own depends on no test before it; see ``--draws``."""
    begin = request.config.getoption("--draws")
    random.seed(begin)
    if "numpy" in sys.modules:  # a test that imports neither need not wait for them
        sys.modules["numpy"].random.seed(begin)
    if "torch" in sys.modules:
        torch = sys.modules["torch"]
        torch.default_generator.manual_seed(begin)
        if torch.cuda.is_initialized():  # else `torch.manual_seed` writes the stack down, to seed it later
            torch.cuda.manual_seed_all(begin)


@pytest.fixture(scope="session")
def shared_data() -> Callable[[str], Path]:
    """Where a data set lies that is not part of the repository; without it, the test is skipped."""

    def folder(name: str) -> Path:
        place = os.environ.get("CLPLAT_SHARED_DATA")
        if not place:
            pytest.skip(f"needs the data set '{name}': set CLPLAT_SHARED_DATA to the folder that has it")
        if not Path(place, name).is_dir():
            pytest.skip(f"CLPLAT_SHARED_DATA is {place}, which has no folder {name}")
        return Path(place, name).resolve()

    return folder


@pytest.fixture(scope="session")
def small_backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a random CLIP of two layers per tower, width 32 and 16 pixels, for ``local-dir:``."""
    from clplat.models.backbone import Backbone

    tower = {"width": 32, "layers": 2}
    model = {
        "embed_dim": 32,
        "vision_cfg": {**tower, "image_size": 16, "patch_size": 8, "head_width": 16},
        "text_cfg": {**tower, "context_length": 48, "heads": 2},
    }
    folder = tmp_path_factory.mktemp("small") / "backbone"
    Backbone.random(model, seed=0).save(folder)
    return folder


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Here and in processes that are started: two threads on two busy cores wait for each other."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module", autouse=True)
def _one_thread_for_tiny_models(request: pytest.FixtureRequest) -> None:
    """On a busy machine, waiting for a second one takes longer."""
    if request.path.relative_to(Path(__file__).parent).parts[0] in ("models", "parts"):
        request.getfixturevalue("one_thread")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, Any, Any]:
    """Libraries and test items live as long as the process: looking through them for garbage is in vain.

    With half a million of such objects that was a tenth of what the tests take.
    """
    gc.disable()
    atexit.register(gc.unfreeze)  # nanobind lists what it believes to be leaked otherwise
    try:
        return (yield)
    finally:
        KNOWN["modules"] = len(sys.modules)
        gc.freeze()
        gc.set_threshold(10_000)  # the usual 700 are new objects of a single figure
        gc.enable()


#: Modules when objects were last put out of sight of the garbage collector.
KNOWN = {"modules": 0}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, Any, Any]:
    """The same for libraries that a test imported: with MLflow's, a look at everything takes 0.2 s."""
    result = yield
    if len(sys.modules) > KNOWN["modules"] + 200:
        KNOWN["modules"] = len(sys.modules)
        gc.collect()
        gc.freeze()
    return result


# -- pytest --shard 1/3: a third of the files, so that several machines can share a run -----------------


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--shard", default="1/1", metavar="I/N", help="run share I of N of the test files")
    parser.addoption("--draws", default=0, type=int, metavar="N", help="where global generators begin")


def shard_of(file: str, count: int) -> int:
    """The share, from 1 on, that a file belongs to; the same on every machine."""
    return zlib.crc32(file.encode()) % count + 1


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    number, _, count = config.getoption("--shard").partition("/")
    if not (number.isdigit() and count.isdigit() and 1 <= int(number) <= int(count)):
        raise pytest.UsageError(f"--shard is I/N, such as 1/3, not '{config.getoption('--shard')}'")
    file = collection_path.relative_to(config.rootpath).as_posix()
    return True if collection_path.is_file() and shard_of(file, int(count)) != int(number) else None


# -- the order of files, with `-n` and `--no-loadscope-reorder` ----------------------------------------

#: Files that take more than ten seconds. They begin first, so that no worker is alone with one at the end.
LONG = (
    "contracts/test_parts.py",
    "sweep/test_run.py",
    "recipes/test_recipes.py",
    "runs/test_resume.py",
    "test_sanity.py",
    "tracking/test_server.py",
    "tracking/test_background.py",
    "cache/test_runs.py",
    "integrations/test_contract.py",
    "tracking/test_models.py",
    "report/test_page.py",
    "docs/test_contributing.py",
    "test_old_releases.py",
    "test_search.py",
    "training/test_processes.py",
    "docs/test_examples.py",
    "sweep/test_storages.py",
    "test_serving.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    place = {Path(__file__).parent / file: number for number, file in enumerate(LONG)}
    items.sort(key=lambda item: place.get(item.path, len(place)))


# -- what a part costs: its contract tests, and the run of a recipe ------------------------------------

#: Seconds of one core above which the contract tests of a part fail.
BUDGET = 5.0
#: Above these they are listed below the results: a wave of new parts must fit into `make test`.
SHOWN = {"contract": 1.2, "recipe": 0.6}
SPENT: Counter[str] = Counter()
COSTS: dict[tuple[str, str], list[float]] = {}
BACKWARD: Counter[str] = Counter()


@cache
def _warm_up() -> None:
    """What is paid once in a process, whichever part comes first: imports, and the first training."""
    import peft  # noqa: F401
    import sklearn.cluster  # noqa: F401  # PEFT imports it when an adapter asks for it

    import clplat.testing.avalanche  # noqa: F401
    from clplat.testing.runs import finish, tiny_trainer
    from clplat.testing.tiny import tiny_retriever
    from clplat.training.strategy import Strategy

    finish(tiny_trainer(Strategy(), tiny_retriever()))
    gc.freeze()


@cache
def _count_backward() -> None:
    """Backward passes say what a part costs on any machine."""
    import torch

    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def call(*given: Any, **named: Any) -> Any:
            BACKWARD["passes"] += 1
            return function(*given, **named)

        return call

    torch.autograd.backward = counted(torch.autograd.backward)
    torch.autograd.grad = counted(torch.autograd.grad)


def _whose(item: Any) -> tuple[str, str] | None:
    """What a test is counted for: ``contract`` and the part, ``recipe`` and its name."""
    parameters = getattr(item, "callspec", None)
    which = f"[{parameters.id if parameters else ''}]"
    classes = getattr(getattr(item, "cls", None), "__mro__", ())
    if any(cls.__module__.startswith("clplat.testing.") for cls in classes):
        return "contract", f"{item.cls.__name__}{which}"
    return ("recipe", which) if getattr(item, "originalname", "") == "test_every_recipe_runs" else None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: Any) -> Generator[None, Any, Any]:
    whose = _whose(item)
    if whose is None:
        return (yield)
    import torch

    _count_backward()
    if whose[0] == "contract":
        _warm_up()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # a second thread that waits for a busy core counts as well
    start, passes = time.process_time(), BACKWARD["passes"]
    try:
        result = yield
    finally:
        torch.set_num_threads(threads)
    spent = time.process_time() - start
    item.user_properties.append(("cost", [*whose, spent, BACKWARD["passes"] - passes]))
    kind, part = whose
    SPENT[part] += spent  # type: ignore[assignment]
    if SPENT[part] > BUDGET and kind == "contract":
        pytest.fail(f"the contract tests of {part} take more than {BUDGET:g} s of one core", pytrace=False)
    return result


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """With ``-n``, what the workers measured arrives here."""
    for name, cost in report.user_properties if report.when == "call" else ():
        if name == "cost":
            kind, part, spent, passes = cost  # type: ignore[misc]
            total = COSTS.setdefault((kind, part), [0.0, 0.0])
            total[0], total[1] = total[0] + spent, total[1] + passes


def pytest_terminal_summary(terminalreporter: Any) -> None:
    for kind, limit in SHOWN.items():
        mine = {part: cost for (of, part), cost in COSTS.items() if of == kind}
        over = {part: cost for part, cost in mine.items() if cost[0] > limit}
        if over:
            total = sum(spent for spent, _ in mine.values())
            head = f"{kind}s: {total:.0f} s of CPU for {len(mine)}; above {limit:g} s"
            terminalreporter.section(head)
            for part, (spent, passes) in sorted(over.items(), key=lambda one: -one[1][0]):
                terminalreporter.line(f"{spent:5.1f} s  {passes:5.0f} backward passes  {part}")
