"""Loads logged models for `mlflow.pyfunc`: a data frame of queries in, the nearest gallery pictures out.

    import mlflow, pandas
    mlflow.set_tracking_uri("sqlite:////data/runs/mlflow.db")
    model = mlflow.pyfunc.load_model("models:/clplat-catalogue@champion")
    model.predict(pandas.DataFrame([["bag.jpg", "in red"]], columns=["reference", "text"]), params={"k": 5})

The gallery is that of the run's scenario: its data and the backbone must be on the serving machine.
"""

from __future__ import annotations

import base64
import binascii
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clplat.errors import UserError
from clplat.search import Found, Searcher

if TYPE_CHECKING:
    from pandas import DataFrame


def _load_pyfunc(path: str) -> Served:
    """The function that MLflow calls for ``loader_module: clplat.serving`` in an MLmodel file."""
    return Served(Searcher(Path(path)))


class Served:
    """Pyfunc wrapper of a `Searcher`."""

    def __init__(self, searcher: Searcher) -> None:
        self.searcher = searcher

    def predict(self, model_input: DataFrame, params: Mapping[str, Any] | None = None) -> DataFrame:
        """Find the pictures for each query.

        Args:
            model_input: columns ``reference`` (the key of a gallery picture, a path on this machine, or the
                base64 of a picture file; empty to search by words alone) and ``text`` (the change in words;
                empty to search by picture alone).
            params: ``k`` (10) and ``domain`` (empty: all galleries together).

        Returns:
            One row per query: ``keys`` of the k nearest items, best first, and their ``cosines``.

        Raises:
            UserError: as `Searcher.find`; a column is missing.
        """
        from pandas import DataFrame

        given = dict(params or {})
        k, domain = int(given.get("k") or 10), str(given.get("domain") or "") or None
        missing = {"reference", "text"} - set(model_input.columns)
        if missing:
            raise UserError(f"the query has no column '{min(missing)}' (it needs: reference, text)")
        queries = zip(model_input["reference"], model_input["text"], strict=True)
        found = [self._find(_given(reference), _given(text), domain, k) for reference, text in queries]
        rows = [{"keys": [item.key for item in one.items], "cosines": one.scores} for one in found]
        return DataFrame(rows, index=model_input.index, columns=["keys", "cosines"])

    def _find(self, reference: str | None, text: str | None, domain: str | None, k: int) -> Found:
        content = _picture_file(reference or "")
        if content is None:
            return self.searcher.find(reference, text, domain=domain, k=k)
        with tempfile.NamedTemporaryFile(suffix=".picture") as file:
            file.write(content)
            file.flush()
            return self.searcher.find(Path(file.name), text, domain=domain, k=k)


def _given(cell: Any) -> str | None:
    """What a cell holds; None where it is missing or empty."""
    return None if cell is None or cell != cell or cell == "" else str(cell)


#: The shortest picture files have some dozens of bytes; keys and paths are seldom base64 of that length.
_SHORTEST = 64


def _picture_file(reference: str) -> bytes | None:
    """The decoded bytes if ``reference`` is base64, or None if it is a key or a path."""
    if len(reference) < _SHORTEST:
        return None
    try:
        return base64.b64decode(reference, validate=True)
    except binascii.Error:
        return None
