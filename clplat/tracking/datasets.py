"""The data of a run in MLflow's Datasets column: what each experience trained on and was measured on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from clplat.naming import part

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

__all__ = ["log_datasets"]


def log_datasets(client: MlflowClient, run_id: str, result: Mapping[str, Any]) -> None:
    """One input per domain and split: named ``<scenario>/<domain>``, its digest that of the scenario's data.

    Not by `mlflow.data`: that wants the rows in a data frame, and warns about their columns.
    """
    from mlflow.entities import Dataset, DatasetInput, InputTag

    config, protocol = result["config"], result.get("protocol") or {}
    scenario, split = part(config, "scenario"), str(protocol.get("split", "test"))
    source = {key: value for key, value in dict(config["scenario"]).items() if value is not None}
    found = []
    for domain in result["domains"]:
        sizes = {
            key: protocol[key][domain] for key in ("queries", "galleries") if domain in protocol.get(key, {})
        }
        for context, rows, profile in (("train", "train", {}), ("eval", split, sizes)):
            words = (result["fingerprints"]["data"], domain, rows)
            digest = hashlib.sha256("\0".join(map(str, words)).encode()).hexdigest()[:12]
            data = Dataset(
                f"{scenario}/{domain}"[:500],
                digest,
                source_type="clplat",
                source=json.dumps({**source, "split": rows}, default=str),
                profile=json.dumps(profile) if profile else None,
            )
            found.append(DatasetInput(data, [InputTag("mlflow.data.context", context)]))
    client.log_inputs(run_id, found)
