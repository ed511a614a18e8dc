"""What a logged model says of itself: an input, the libraries it was made with, what goes in and out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clplat.documents.result import read_result
from clplat.plots.grids import last_grid, read_grid
from clplat.runs.run_folder import RESULT
from clplat.tracking.descriptions import EXAMPLE

__all__ = ["example_text", "result_of", "signature", "write_example", "write_requirements"]


def result_of(folder: Path) -> dict[str, Any]:
    """The result of a run, or nothing where its folder has none yet."""
    return dict(read_result(folder / RESULT)) if (folder / RESULT).exists() else {}


def example_text(folder: Path) -> str:
    """The words of a query of the run."""
    grid = last_grid(folder / "grids")
    return next((found.text for found in (read_grid(grid) if grid else []) if found.text), EXAMPLE)


def write_example(where: Path, text: str) -> dict[str, str]:
    """An input by words alone, which every gallery answers, as MLflow keeps examples."""
    table = {"columns": ["reference", "text"], "data": [["", text]]}
    # By MLflow's reader: no checksum of ours among its keys.
    (where / "input_example.json").write_text(json.dumps(table), encoding="utf-8")
    (where / "serving_input_example.json").write_text(
        json.dumps({"dataframe_split": table}), encoding="utf-8"
    )
    return {
        "type": "dataframe",
        "pandas_orient": "split",
        "artifact_path": "input_example.json",
        "serving_input_path": "serving_input_example.json",
    }


def write_requirements(where: Path, result: Mapping[str, Any]) -> None:
    """The libraries that the run was made with."""
    pins = [
        f"{name}=={str(number).partition('+')[0]}"  # a local build is on no index
        for name, number in sorted((result.get("versions") or {}).items())
        if name != "python"
    ]
    if pins:
        (where / "requirements.txt").write_text("\n".join(pins) + "\n", encoding="utf-8")


def signature() -> Any:
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
    from mlflow.types.schema import Array

    text = DataType.string
    return ModelSignature(
        inputs=Schema([ColSpec(text, "reference"), ColSpec(text, "text")]),
        outputs=Schema([ColSpec(Array(text), "keys"), ColSpec(Array(DataType.double), "cosines")]),
        params=ParamSchema([ParamSpec("k", DataType.long, 10), ParamSpec("domain", text, "")]),
    )
