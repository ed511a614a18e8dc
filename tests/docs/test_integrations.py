"""The examples of docs/integrations.md run, each in the library that it is for."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

PAGE = (Path(__file__).parents[2] / "docs" / "integrations.md").read_text(encoding="utf-8")
PARTS = re.split(r"^## (.*)$", PAGE, flags=re.MULTILINE)
EXAMPLES = dict(zip(PARTS[1::2], PARTS[2::2], strict=True))
NEEDS = {
    "accelerate": "accelerate",
    "Lightning": "lightning",
    "Hugging Face Trainer": "transformers",
    "sentence-transformers": "sentence_transformers",
}


def code(text: str) -> str:
    return "\n".join(re.findall(r"```python\n(.*?)```", text, re.DOTALL))


@pytest.fixture(scope="module")
def names() -> dict[str, Any]:
    """What the page's examples share."""
    held: dict[str, Any] = {"__name__": "integrations"}
    exec(compile(code(PARTS[0]), "docs/integrations.md", "exec"), held)
    return held


@pytest.mark.parametrize("title", EXAMPLES)
def test_the_example_runs(
    title: str, names: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if title in NEEDS:
        pytest.importorskip(NEEDS[title], reason="it comes with the extra [test-integrations]")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    torch.manual_seed(0)
    exec(compile(code(EXAMPLES[title]), f"docs/integrations.md: {title}", "exec"), names)
    strategy = names["strategy"]
    if title != "Avalanche":
        kept = strategy.memory_bytes() + strategy.state_bytes()
        assert kept > 0 and names["learner"].progress.step > 0
