"""The folder of a run, by its path or by how its id in MLflow begins."""

from __future__ import annotations

from pathlib import Path

from clplat.errors import UserError, unknown_name
from clplat.runs.run_folder import CONFIG

__all__ = ["find_run"]


def find_run(run: str, root: Path) -> Path:
    """The folder of a run.

    Args:
        run: a folder, one inside ``root``, or the beginning of an MLflow run id in the store of ``root``.
        root: folder of runs.

    Raises:
        UserError: no such run, or several.
    """
    for folder in (Path(run), root / run):
        if (folder / CONFIG).exists():
            return folder
    known = sorted(path.parent.relative_to(root).as_posix() for path in root.rglob(CONFIG))
    folders = _logged(run, root)
    if len(folders) > 1:
        raise UserError(f"'{run}' begins several run ids in {root}; give more of it")
    if not folders:
        raise unknown_name("run", run, known or [f"none in {root}"])
    if not (folders[0] / CONFIG).exists():
        raise UserError(f"the folder of run '{run}' is gone: {folders[0]}")
    return folders[0]


def _logged(run: str, root: Path) -> list[Path]:
    """Folders of the MLflow runs whose id begins like this; none where nothing was ever logged."""
    from clplat.tracking.store import DATABASE, answering, open_client, tracking_uri

    uri = tracking_uri(root)
    if uri.startswith("sqlite:") and not (root / DATABASE).exists():
        return []
    with answering(uri):
        client = open_client(uri)
        experiments = [experiment.experiment_id for experiment in client.search_experiments()]
        runs = [r for r in client.search_runs(experiments, max_results=5000) if r.info.run_id.startswith(run)]
    return [Path(r.data.tags["clplat.folder"]) for r in runs if "clplat.folder" in r.data.tags]
