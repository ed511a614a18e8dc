"""The data sets and files of a run in MLflow: tables, figures, configuration, result, retrieval grids.

Every file has a fixed name, so that logging twice overwrites instead of doubling; only MLflow's image
series does not work that way, and there the caller remembers what is logged.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clplat.measures import MEASURES
from clplat.naming import label, part, stream_names, variant
from clplat.plots.curves import domain_curves, stream_curves
from clplat.plots.grids import last_grid, side_by_side
from clplat.plots.heatmaps import accuracy_heatmap, compatibility_heatmap
from clplat.plots.points import Point, draw_points
from clplat.plots.styles import styles_of
from clplat.tracking.log_state import LogState, now_ms
from clplat.tracking.metrics import domain_keys, primary, rows_done
from clplat.tracking.sharing import share

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient
    from PIL import Image

__all__ = [
    "accuracy_table", "comparison_figures", "log_closing", "log_datasets", "log_drawings", "log_figures",
    "log_grids", "log_picture", "log_queries", "log_tables",
]  # fmt: skip

_METHODS = 8  # side by side
_FAST = 2  # Pillow's number of the fast octree

Rows = Sequence[Sequence[float | None]]
Table = tuple[list[str], list[list[Any]]]


def _versions(result: Mapping[str, Any]) -> list[str]:
    """The names of the model versions: untrained, then the domain each was trained on last."""
    return ["zero-shot", *result["domains"]]


def _long(columns: list[str], down: Sequence[str], across: Sequence[str], rows: Rows) -> Table:
    """A matrix in long form, one line per known cell: name of its row, of its column, value."""
    cells = [
        [name, other, round(value, 2)]
        for name, row in zip(down, rows, strict=False)
        for other, value in zip(across, row, strict=False)
        if value is not None
    ]
    return columns, cells


def accuracy_table(result: Mapping[str, Any]) -> Table:
    """R of the primary metric in long form: after which domain, on which domain, value."""
    rows = (result.get("metrics") or {}).get(primary(result)) or []
    return _long(["after", "on", "value"], _versions(result), result["domains"], rows)


def _compatibility(result: Mapping[str, Any]) -> tuple[str, Rows]:
    """C of the primary metric, else of the first that has one, and that metric; no rows if there is none."""
    matrices = result.get("compatibility") or {}
    name = primary(result) if primary(result) in matrices else next(iter(matrices), "")
    return name, matrices.get(name) or []


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


def log_closing(client: MlflowClient, run_id: str, result: Mapping[str, Any]) -> None:
    """The files of a run that is over: both matrices as tables, the result itself."""
    client.log_text(run_id, json.dumps(result, indent=2, sort_keys=True), "result.json")
    names, columns = _versions(result), ["queries_by", "gallery_by", "value"]
    compatibility = _long(columns, names, names, _compatibility(result)[1])
    tables = {"accuracy_matrix": accuracy_table(result), "compatibility": compatibility}
    log_tables(client, run_id, {f"tables/{name}.json": table for name, table in tables.items()})


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
    metric, cells = _compatibility(result)
    if cells:
        names = _versions(result)[: len(cells)]
        drawn["compatibility"] = compatibility_heatmap(cells, names, metric=metric, title=title)
    log_figures(client, run_id, drawn)


def log_grids(client: MlflowClient, state: LogState) -> None:
    """New retrieval grids into the image series."""
    from PIL import Image

    location = client.get_run(str(state.run_id)).info.artifact_uri
    for path in sorted((state.folder / "grids").glob("step_*.png")):
        number = path.stem.removeprefix("step_")
        if not number.isdigit() or (step := int(number)) in state.grids:
            continue
        with Image.open(path) as image:
            shown = image.convert("RGB")
        share(location, log_picture(client, str(state.run_id), shown, "retrieval_grid", step, path), path)
        state.grids.append(step)
        state.write()


def log_queries(
    client: MlflowClient, run_id: str, grids: Mapping[str, Path], colours: Mapping[str, str]
) -> list[str]:
    """What methods find for a query of each domain as the series ``queries/<domain>``; those names.

    Args:
        grids: method -> the folder of its retrieval grids, the best method first.
    """
    newest = {name: path for name, folder in grids.items() if (path := last_grid(folder))}
    pictures = side_by_side(dict(list(newest.items())[:_METHODS]), colours)
    for name, picture in zip(domain_keys(list(pictures)), pictures.values(), strict=True):
        log_picture(client, run_id, picture, f"queries/{name}", 0)
    return domain_keys(list(pictures))


def log_picture(
    client: MlflowClient, run_id: str, picture: Image.Image, key: str, step: int, file: Path | None = None
) -> str:
    """One picture of an image series; the name of its PNG.

    Under the names that `MlflowClient.log_image` gives, which reduces what its pages show to 256 pixels.

    Args:
        file: the same as a PNG, if there is one; else it is made, in 256 colours.
    """
    name = f"{key.replace('/', '~')}+step+{step}+timestamp+{now_ms()}+{uuid.uuid4()}"
    with tempfile.TemporaryDirectory() as folder:
        if file is not None:
            shutil.copyfile(file, Path(folder, f"{name}.png"))
        else:
            picture.quantize(256, method=_FAST).save(Path(folder, f"{name}.png"))
        picture.save(Path(folder, f"{name}+compressed.webp"), quality=80, method=2)
        client.log_artifacts(run_id, folder, "images")
    client.set_tag(run_id, "mlflow.loggedImages", "True")
    return f"images/{name}.png"


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
        Point(row["label"], row[lost.column], row["score"], looks[row["label"]])
        for row in rows
        if row[lost.column] is not None and row["score"] is not None
    ]
    if points:
        title, across = "Kept against lost: upper left is best", f"{lost.title} ({lost.unit})"
        figures["trade_off"] = draw_points(points, title, across, f"{metric} after the last domain (%)")
    return figures
