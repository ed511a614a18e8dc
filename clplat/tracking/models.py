"""Every finished version of a run as a LoggedModel that MLflow can load, and the registry's champion."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clplat.addresses import masked, without_password
from clplat.errors import UserError
from clplat.kinds import KINDS
from clplat.naming import part, run_name, variant
from clplat.runs.run_folder import VERSION_ELSEWHERE
from clplat.tracking.descriptions import model_note, version_note
from clplat.tracking.destination import Destination
from clplat.tracking.log_state import LogState, locked_state
from clplat.tracking.metrics import clean, rows_done
from clplat.tracking.model_files import (
    example_text,
    result_of,
    signature,
    write_example,
    write_requirements,
)
from clplat.tracking.sharing import release, share
from clplat.tracking.store import answering, open_existing

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

__all__ = [
    "CHAMPION",
    "LIMIT_BYTES",
    "champion_folder",
    "create_models",
    "download",
    "set_champion",
    "upload_models",
]

#: A larger version stays where it is, and the model names its path.
LIMIT_BYTES = 200_000_000
CHAMPION = "champion"


def create_models(client: MlflowClient, result: Mapping[str, Any], state: LogState) -> None:
    """A model for each version that is new; row 0, the untrained one, needs none.

    A model is written down before it is created, so that it is found by its tag after a kill in between.
    """
    from mlflow.entities import LoggedModelOutput

    run_id = str(state.run_id)
    for row in range(1, rows_done(result)):
        key = str(row)
        if state.models.get(key) or not _version(state, key).exists():
            continue
        begun = _begun(client, state, row) if key in state.models else None
        state.models[key] = ""
        state.write()
        model_id = begun or _create(client, result, row, state)
        if begun is None or begun not in _outputs(client, run_id):
            client.log_outputs(run_id, [LoggedModelOutput(model_id, row)])
        state.models[key] = model_id
        state.write()


def _version(state: LogState, row: str) -> Path:
    return state.folder / "versions" / f"{row}.safetensors"


def _begun(client: MlflowClient, state: LogState, row: int) -> str | None:
    """The id of a model that a killed process created."""
    search = f"tags.`clplat.key` = '{state.key}-{row}'"
    found = client.search_logged_models([state.experiment_id], search, max_results=1)
    return str(found[0].model_id) if found else None


def _outputs(client: MlflowClient, run_id: str) -> set[str]:
    """The models that the run lists."""
    outputs = client.get_run(run_id).outputs
    return {output.model_id for output in outputs.model_outputs} if outputs else set()


def _create(client: MlflowClient, result: Mapping[str, Any], row: int, state: LogState) -> str:
    config = result["config"]
    slots = [slot for slot in KINDS if slot not in ("loss", "probes")]  # a model needs neither any more
    params = {slot: part(config, slot) for slot in slots if part(config, slot)}
    model = client.create_logged_model(
        state.experiment_id,
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


def upload_models(client: MlflowClient, state: LogState) -> None:
    """Send the files of the models that lack them; then they are ready."""
    for key, model_id in state.models.items():
        path = _version(state, key)
        if key in state.ready or not path.exists():
            continue
        location, name = client.get_logged_model(model_id).artifact_location, f"versions/{path.name}"
        release(location, name)  # of an upload that was cut off
        with tempfile.TemporaryDirectory() as temporary:
            _lay_out(Path(temporary), path, str(state.run_id), model_id)
            client.log_model_artifacts(model_id, temporary)
        share(location, name, path)
        client.finalize_logged_model(model_id, "READY")
        state.ready.append(key)
        state.write()


def _lay_out(where: Path, version: Path, run_id: str, model_id: str) -> None:
    """The model's files: the configuration, one version, and an MLmodel that says how they are loaded."""
    from mlflow.models import Model

    config = version.parents[1] / "config.yaml"
    if config.exists():
        shutil.copyfile(config, where / config.name)
    if version.stat().st_size > LIMIT_BYTES:
        (where / VERSION_ELSEWHERE).write_text(str(version.resolve()), encoding="utf-8")
    else:
        (where / "versions").mkdir()
        shutil.copyfile(version, where / "versions" / version.name)
    model = Model(run_id=run_id, model_id=model_id, signature=signature())
    model.saved_input_example_info = write_example(where, example_text(version.parents[1]))
    write_requirements(where, result_of(version.parents[1]))
    model.add_flavor("python_function", loader_module="clplat.serving")
    model.save(str(where / "MLmodel"))


def set_champion(tracker: Destination, folder: Path, scenario: str) -> str:
    """Register the newest model of the run logged from ``folder`` as champion of ``clplat-<scenario>``.

    The same model again makes no new version.

    Returns:
        The registered name, for ``clplat search --model models:/clplat-catalogue@champion``; None when it
        could not be done.

    Raises:
        RuntimeError: nothing was logged from there, or it has no model.
    """
    from mlflow.exceptions import MlflowException

    client, name = tracker.client, f"clplat-{clean(scenario)}"  # MLflow forbids slashes and colons
    with locked_state(folder) as state:  # their files may still be on their way
        upload_models(client, state)
    if not state.ready:
        raise RuntimeError(f"no model was logged from {state.folder}")
    model_id = state.models[max(state.ready, key=int)]
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    client.update_registered_model(name, model_note(name, scenario, CHAMPION))
    # Not `models:/<id>`: MLflow would look for that in the store that its global state names.
    source = client.get_logged_model(model_id).artifact_location
    versions = client.search_model_versions(f"name = '{name}'")
    version = next((known for known in versions if known.source == source), None)
    if version is None:
        result = result_of(state.folder)
        about = version_note(result, example_text(state.folder))[:5000] if result else None
        version = client.create_model_version(
            name, source, state.run_id, model_id=model_id, description=about
        )
    client.set_registered_model_alias(name, CHAMPION, version.version)
    return name


def champion_folder(tracker: Destination, scenario: str) -> str | None:
    """The folder of the run that the champion of ``clplat-<scenario>`` is of; None where there is none."""
    from mlflow.exceptions import MlflowException

    name = f"clplat-{clean(scenario)}"
    try:
        version = tracker.client.get_model_version_by_alias(name, CHAMPION)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):  # no model, no alias
            return None
        raise
    return str(tracker.client.get_run(str(version.run_id)).data.tags.get("clplat.folder", ""))


def download(model: str, uri: str, where: Path) -> Path:
    """Copy the files of a registered model, ``models:/NAME@ALIAS`` or ``models:/NAME/VERSION``, to ``where``.

    Raises:
        UserError: no such model, version or alias; the store does not answer; files that are no clplat model.
    """
    match = re.fullmatch(r"models:/([^/@]+)(?:@([^/@]+)|/(\d+))", model)
    if match is None:
        raise UserError(f"a model is models:/NAME@{CHAMPION} or models:/NAME/VERSION, not '{model}'")
    name, alias, number = match.groups()
    with answering(uri):
        client = open_existing(uri)
    import mlflow.artifacts
    from mlflow.exceptions import MlflowException

    try:
        # Not by the address of the model itself: MLflow would look it up where its global state points.
        number = client.get_model_version_by_alias(name, alias).version if alias else number
        source = client.get_model_version_download_uri(name, str(number))
        path = mlflow.artifacts.download_artifacts(source, dst_path=str(where), tracking_uri=uri)
    except (MlflowException, OSError) as error:
        said = masked(" ".join(str(error).split()), uri)[:200]
        raise UserError(f"no model '{model}' in {without_password(uri)}: {said}") from None
    except Exception as error:  # those of the library of its storage
        said = masked(f"{type(error).__name__}: {' '.join(str(error).split())}", uri)[:200]
        raise UserError(
            f"the files of '{model}' in {without_password(uri)} cannot be fetched: {said}"
        ) from error
    folder = Path(path)
    if not (folder / "config.yaml").exists():
        raise UserError(f"'{model}' was not logged by clplat: it has no config.yaml")
    return folder
