"""The files of a run in MLflow: tables, figures, the resolved config, the result, retrieval grids.

Every file has a fixed name, so that logging twice overwrites instead of doubling; only MLflow's image
series does not work that way, and there the caller remembers what is logged.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from clplat.measures import MEASURES
from clplat.naming import label, stream_names, variant
from clplat.plots.curves import domain_curves, stream_curves
from clplat.plots.heatmaps import accuracy_heatmap, compatibility_heatmap
from clplat.plots.points import Point, draw_points
from clplat.plots.styles import styles_of
from clplat.tracking.metrics import primary, rows_done

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

__all__ = [
    "accuracy_table",
    "comparison_figures",
    "log_closing",
    "log_config",
    "log_drawings",
    "log_figures",
    "log_grid",
    "log_tables",
    "version_names",
]

GRID = "retrieval_grid"
Table = tuple[list[str], list[list[Any]]]


def version_names(domains: Sequence[str], rows: int) -> list[str]:
    """The names of the model versions: ``zero-shot``, then the domain each was trained on last.

    Example:
        >>> version_names(["shoes", "lamps"], 2)
        ['zero-shot', 'shoes']
    """
    return ["zero-shot", *domains][:rows]


def accuracy_table(result: Mapping[str, Any]) -> Table:
    """R of the primary metric in long form: after which domain, on which domain, value."""
    rows = (result.get("metrics") or {}).get(primary(result)) or []
    names = version_names(result["domains"], len(rows))
    cells = [
        [after, on, round(value, 2)]
        for after, row in zip(names, rows, strict=True)
        for on, value in zip(result["domains"], row, strict=True)
        if value is not None
    ]
    return ["after", "on", "value"], cells


def _compatibility(result: Mapping[str, Any]) -> tuple[str, list[list[float | None]]] | None:
    matrices = result.get("compatibility") or {}
    name = primary(result) if primary(result) in matrices else next(iter(matrices), None)
    return (name, matrices[name]) if name is not None and matrices[name] else None


def compatibility_table(result: Mapping[str, Any]) -> Table:
    """C in long form: which version embeds the queries, which one indexed the gallery, value."""
    found = _compatibility(result)
    rows = found[1] if found else []
    names = version_names(result["domains"], len(rows))
    cells = [
        [queries, gallery, round(value, 2)]
        for queries, row in zip(names, rows, strict=True)
        for gallery, value in zip(names, row, strict=False)
        if value is not None
    ]
    return ["queries_by", "gallery_by", "value"], cells


def log_tables(client: MlflowClient, run_id: str, tables: Mapping[str, Table]) -> None:
    """Write tables that MLflow shows as tables; its own ``log_table`` would append on a second call."""
    shown = []
    for path, (columns, data) in tables.items():
        if data:
            client.log_text(run_id, json.dumps({"columns": columns, "data": data}), path)
            shown.append({"path": path, "type": "table"})
    if shown:
        client.set_tag(run_id, "mlflow.loggedArtifacts", json.dumps(shown))


def log_figures(client: MlflowClient, run_id: str, drawn: Mapping[str, Any]) -> None:
    """Write matplotlib figures as ``figures/<name>.png``."""
    for name, figure in drawn.items():
        client.log_figure(run_id, figure, f"figures/{name}.png", save_kwargs={"dpi": 120})


def log_config(client: MlflowClient, run_id: str, config: Mapping[str, Any]) -> None:
    """The full config as it was resolved: what `clplat run --config` takes."""
    text = yaml.safe_dump(json.loads(json.dumps(config, default=str)), sort_keys=False)
    client.log_text(run_id, text, "config/resolved.yaml")


def log_closing(client: MlflowClient, run_id: str, result: Mapping[str, Any]) -> None:
    """The files of a run that is over: both matrices as tables, the result itself."""
    client.log_text(run_id, json.dumps(result, indent=2, sort_keys=True), "result.json")
    tables = {"tables/accuracy_matrix.json": accuracy_table(result)}
    tables["tables/compatibility.json"] = compatibility_table(result)
    log_tables(client, run_id, tables)


def log_drawings(client: MlflowClient, run_id: str, result: Mapping[str, Any]) -> None:
    """Both matrices as heat maps, and the curves of the domains. This takes as long as everything else."""
    if not rows_done(result):
        return
    main, domains = primary(result), result["domains"]
    rows, title = result["metrics"][main], label(result["config"])
    drawn = {
        "accuracy_matrix": accuracy_heatmap(rows, domains, metric=main, title=title),
        "forgetting_curves": domain_curves(rows, domains, metric=main, title=title),
    }
    found = _compatibility(result)
    if found:
        names = version_names(domains, len(found[1]))
        drawn["compatibility"] = compatibility_heatmap(found[1], names, metric=found[0], title=title)
    log_figures(client, run_id, drawn)


def log_grid(client: MlflowClient, run_id: str, path: Path, step: int, timestamp: int) -> None:
    """One retrieval grid into the image series; asynchronous image logging delays the end of every run.

    In 256 colours: a quarter of the time and of the disk; the file beside the result has them all.
    """
    from PIL import Image

    with Image.open(path) as image:
        client.log_image(
            run_id,
            image.convert("RGB").quantize(256, method=Image.Quantize.FASTOCTREE),
            key="retrieval_grid",
            step=step,
            timestamp=timestamp,
            synchronous=True,
        )


def comparison_figures(
    results: Sequence[Mapping[str, Any]], rows: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Across strategies: mean curve with band over seeds, and the score against forgetting."""
    names = {row["variant"]: str(row["label"]) for row in rows}
    series: dict[str, list[list[float]]] = {}
    for result in results:
        means = [sum(row) / len(row) for row in result["metrics"][primary(result)] if row and None not in row]
        series.setdefault(names[variant(result["config"])], []).append(means)
    looks, lost = styles_of(rows), MEASURES["forgetting"]
    metric, domains = primary(results[0]), stream_names([result["domains"] for result in results])
    figures = {}
    drawn = stream_curves(series, domains, looks, metric, "Mean over all domains; band: range over seeds")
    if drawn is not None:
        figures["forgetting_curves"] = drawn[0]
    points = [
        Point(row["label"], float(row[lost.column]), float(row["score"]), looks[row["label"]])
        for row in rows
        if row[lost.column] is not None and row["score"] is not None
    ]
    if points:
        title = "Kept against lost: upper left is best"
        across = f"{lost.title} ({lost.unit})"
        figures["trade_off"] = draw_points(points, title, across, f"{metric} after the last domain (%)")
    return figures
