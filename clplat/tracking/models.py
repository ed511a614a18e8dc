"""Every finished version of a run as a LoggedModel that MLflow can load, and the registry's champion."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clplat.errors import UserError
from clplat.kinds import KINDS
from clplat.naming import part, run_name, variant
from clplat.runs.run_folder import VERSION_ELSEWHERE
from clplat.tracking.log_state import LogState, folder_lock
from clplat.tracking.metrics import clean, rows_done
from clplat.tracking.store import open_client

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

__all__ = [
    "CHAMPION",
    "LIMIT_BYTES",
    "create_models",
    "download",
    "registered_name",
    "set_champion",
    "upload_models",
]

#: A larger version stays where it is, and the model names its path.
LIMIT_BYTES = 200_000_000
CHAMPION = "champion"
#: In a model's folder, the path of a version that was too large to copy.


def registered_name(scenario: str) -> str:
    """``"catalogue"`` -> ``"clplat-catalogue"``; MLflow forbids slashes and colons.

    Example:
        >>> registered_name("mine:Stream")
        'clplat-mine_Stream'
    """
    return f"clplat-{clean(scenario)}"


def create_models(
    client: MlflowClient, experiment_id: str, result: Mapping[str, Any], folder: Path, state: LogState
) -> None:
    """A model for each version that is new; row 0, the untrained one, needs none.

    A model is written down before it is created, so that it is found by its tag after a kill in between.
    """
    from mlflow.entities import LoggedModelOutput

    for row in range(1, rows_done(result)):
        key = str(row)
        if state.models.get(key) or not _version(folder, row).exists():
            continue
        begun = key in state.models
        state.models[key] = ""
        state.write(folder)
        known, model_id = _begun(client, experiment_id, state, row) if begun else (False, None)
        model_id = model_id or _create(client, experiment_id, result, row, state)
        if not known:
            client.log_outputs(str(state.run_id), [LoggedModelOutput(model_id, row)])
        state.models[key] = model_id
        state.write(folder)


def _begun(client: MlflowClient, experiment_id: str, state: LogState, row: int) -> tuple[bool, str | None]:
    """A model that a killed process created: whether its run lists it, and its id."""
    search = f"tags.`clplat.key` = '{state.key}-{row}'"
    found = client.search_logged_models([experiment_id], search, max_results=1)
    if not found:
        return False, None
    outputs = client.get_run(str(state.run_id)).outputs
    known = {output.model_id for output in (outputs.model_outputs if outputs else [])}
    return found[0].model_id in known, str(found[0].model_id)


def _version(folder: Path, row: int) -> Path:
    return folder / "versions" / f"{row}.safetensors"


def _create(
    client: MlflowClient, experiment_id: str, result: Mapping[str, Any], row: int, state: LogState
) -> str:
    config = result["config"]
    slots = [slot for slot in KINDS if slot not in ("loss", "probes")]  # a model needs neither any more
    params = {slot: part(config, slot) for slot in slots if part(config, slot)}
    model = client.create_logged_model(
        experiment_id,
        name=f"{clean(run_name(config))} v{row}",
        source_run_id=state.run_id,
        model_type="clplat",
        params={**params, "seed": str(config.get("seed", 0)), "trained": str(row)},
        tags={
            "clplat.key": f"{state.key}-{row}",
            "clplat.after": result["domains"][row - 1],
            "clplat.variant": variant(config),
        },
    )
    return str(model.model_id)


def upload_models(client: MlflowClient, folder: Path, state: LogState) -> None:
    """Send the files of the models that lack them; then they are ready."""
    for key, model_id in state.models.items():
        path = _version(folder, int(key))
        if key in state.ready or not path.exists():
            continue
        with tempfile.TemporaryDirectory() as temporary:
            _lay_out(Path(temporary), folder, path, str(state.run_id), model_id)
            client.log_model_artifacts(model_id, temporary)
        client.finalize_logged_model(model_id, "READY")
        state.ready.append(key)
        state.write(folder)


def _lay_out(where: Path, folder: Path, version: Path, run_id: str, model_id: str) -> None:
    """The model's files: the configuration, one version, and an MLmodel that says how they are loaded."""
    from mlflow.models import Model

    if (folder / "config.yaml").exists():
        shutil.copyfile(folder / "config.yaml", where / "config.yaml")
    if version.stat().st_size > LIMIT_BYTES:
        (where / VERSION_ELSEWHERE).write_text(str(version.resolve()), encoding="utf-8")
    else:
        (where / "versions").mkdir()
        shutil.copyfile(version, where / "versions" / version.name)
    model = Model(run_id=run_id, model_id=model_id, signature=_signature())
    model.add_flavor("python_function", loader_module="clplat.serving")
    model.save(str(where / "MLmodel"))


def _signature() -> Any:
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
    from mlflow.types.schema import Array

    text = DataType.string
    return ModelSignature(
        inputs=Schema([ColSpec(text, "reference"), ColSpec(text, "text")]),
        outputs=Schema([ColSpec(Array(text), "keys"), ColSpec(Array(DataType.double), "cosines")]),
        params=ParamSchema([ParamSpec("k", DataType.long, 10), ParamSpec("domain", text, "")]),
    )


def set_champion(client: MlflowClient, folder: Path, scenario: str) -> str:
    """Register the newest model of the run logged from ``folder``; the alias ``champion`` points at it.

    Raises:
        RuntimeError: nothing was logged from there, or it has no model.
    """
    with folder_lock(folder):  # their files may still be on their way
        state = LogState.read(folder)
        upload_models(client, folder, state)
    if not state.ready:
        raise RuntimeError(f"no model was logged from {folder}")
    name, model_id = registered_name(scenario), state.models[max(state.ready, key=int)]
    if not client.search_registered_models(f"name = '{name}'", max_results=1):
        _create_name(client, name)
    versions = client.search_model_versions(f"name = '{name}'")
    # Not `models:/<id>`: MLflow would look for that in the store that its global state names.
    source = client.get_logged_model(model_id).artifact_location
    version = next((known for known in versions if known.source == source), None)
    if version is None:
        version = client.create_model_version(name, source, state.run_id, model_id=model_id)
    client.set_registered_model_alias(name, CHAMPION, version.version)
    return name


def _create_name(client: MlflowClient, name: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(
            name, description="clplat search --model models:/" + f"{name}@{CHAMPION}"
        )
    except MlflowException as error:  # another process was faster
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def download(model: str, uri: str, where: Path) -> Path:
    """Copy the files of a registered model, ``models:/NAME@ALIAS`` or ``models:/NAME/VERSION``, to ``where``.

    Raises:
        UserError: no such model, version or alias; the store does not answer; files that are no clplat model.
    """
    match = re.fullmatch(r"models:/([^/@]+)(?:@([^/@]+)|/(\d+))", model)
    if match is None:
        raise UserError(f"a model is models:/NAME@{CHAMPION} or models:/NAME/VERSION, not '{model}'")
    name, alias, number = match.groups()
    if uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).exists():
        raise UserError(f"no runs are tracked in {Path(uri.removeprefix('sqlite:///')).parent}; see --out")
    client = open_client(uri)
    import mlflow.artifacts
    from mlflow.exceptions import MlflowException

    try:
        # Not by the address of the model itself: MLflow would look it up where its global state points.
        number = client.get_model_version_by_alias(name, alias).version if alias else number
        source = client.get_model_version_download_uri(name, str(number))
        path = mlflow.artifacts.download_artifacts(source, dst_path=str(where), tracking_uri=uri)
    except (MlflowException, OSError) as error:
        raise UserError(f"no model '{model}' in {uri}: {' '.join(str(error).split())[:200]}") from None
    folder = Path(path)
    if not (folder / "config.yaml").exists():
        raise UserError(f"'{model}' at {uri} was not logged by clplat: it has no config.yaml")
    return folder
