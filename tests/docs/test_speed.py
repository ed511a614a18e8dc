"""docs/speed.md: its code runs, and what a run reports is what it says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch

from clplat.cache.engine import FeatureCache
from clplat.cache.store import Store
from clplat.testing.tiny import tiny_collate, tiny_domains, tiny_retriever

PAGE = (Path(__file__).parents[2] / "docs" / "speed.md").read_text(encoding="utf-8")


def test_the_code_of_the_page_runs_and_encodes_each_picture_once() -> None:
    [code] = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    space: dict[str, object] = {}
    exec(compile(code, "docs/speed.md", "exec"), space)
    retriever: Any = space["retriever"]
    distinct = {p.key for t in tiny_domains()[0].train for p in (t.reference, t.target)}
    report = retriever.cache.report()["image"]
    assert report["encoded"] == len(distinct) < report["asked"]


def test_every_number_of_the_report_is_named() -> None:
    retriever = tiny_retriever()
    retriever.cache = features = FeatureCache(retriever.backbone, Store(None))
    with torch.no_grad():
        retriever(tiny_collate()(tiny_domains()[0].train[:4]))
    report = features.report()
    section = PAGE.partition("## What a run reports")[2].partition("\n## ")[0]
    for word in [*report, *report["image"]]:
        named = {"taps": "tap", "seconds_saved": "seconds"}.get(word, f"`{word}`")
        assert named in section, word
