"""What an import costs, and whose tests these are."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("statement", "unwanted"),
    [
        ("import clplat", ["torch", "avalanche", "peft", "mlflow", "optuna"]),
        (
            "import clplat.cli, clplat.registry, clplat.config",
            ["torch", "avalanche", "peft", "mlflow", "optuna"],
        ),
        ("from strategies import EWC", ["avalanche", "peft", "open_clip", "mlflow", "optuna"]),
    ],
)
def test_an_import_loads_no_more_than_it_needs(statement: str, unwanted: list[str], tmp_path: Path) -> None:
    script = f"{statement}\nimport sys\nprint([name for name in {unwanted} if name in sys.modules])"
    found = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "[]"


def test_avalanches_installed_tests_do_not_hide_ours() -> None:
    assert not list(Path(ROOT, "tests").rglob("__init__.py")), "our tests are no package: Avalanche ships one"
    assert Path(__file__).is_relative_to(ROOT / "tests") and (ROOT / "pyproject.toml").exists()
    module = sys.modules[__name__]
    assert Path(str(module.__file__)).resolve() == Path(__file__).resolve()
