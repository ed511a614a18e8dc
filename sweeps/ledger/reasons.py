"""Why a system stays below plain training of the same parts, where that was found out."""

from __future__ import annotations

from pathlib import Path

from clplat.config.reading import read_yaml

__all__ = ["REASONS", "read_reasons"]

REASONS = Path(__file__).with_name("reasons.yaml")


def read_reasons() -> dict[str, str]:
    """System -> one sentence, of the file that people fill by hand."""
    return read_yaml(REASONS, "reasons") or {}
