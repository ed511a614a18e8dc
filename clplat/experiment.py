"""One experiment: stream -> trainer -> evaluator -> result on disk -> tracker. The same call from everywhere."""

from __future__ import annotations

import fcntl
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from clplat import provenance
from clplat.assembly import Assembly, assemble
from clplat.checkpoint import Weights, load_state, save_state, save_version
from clplat.config import build, command_of, resolve
from clplat.continual.trainer import NonFiniteLoss, Trainer
from clplat.errors import UserError
from clplat.evaluation.compatibility import compatibility_scores
from clplat.evaluation.continual import continual_scores, zs_drop, zs_retention
from clplat.evaluation.evaluator import Row
from clplat.events import Listener
from clplat.files import read_json, save_tree, write_json, write_text
from clplat.grid import query_grid
from clplat.versions import Versions

__all__ = ["SCHEMA", "Experiment", "default_folder", "run"]

SCHEMA = 1


def default_folder(config: Mapping[str, Any], root: Path = Path("runs")) -> Path:
    """``runs/<scenario>-<strategy>-<adapter>-<composer>-s<seed>`` of a resolved configuration."""
    words = [config[slot]["name"] for slot in ("scenario", "strategy", "adapter", "composer")]
    return root / ("-".join(words).replace("/", "_").replace(":", "_") + f"-s{config['seed']}")


def run(
    config: Mapping[str, Any],
    out: Path | str | None = None,
    *,
    listener: Listener | None = None,
    checkpoint_every: int = 100,
) -> dict[str, Any]:
    """Run an experiment, or finish or return the one that ``out`` holds.

    Args:
        config: raw or resolved, see `clplat.config.resolve`.
        out: folder of results and checkpoints; by default `default_folder`.
        listener: hears of the progress.
        checkpoint_every: optimizer steps between checkpoints inside an experience; 0 for none there.

    Returns:
        The result, schema 1 (``docs/result.md``), as in ``<out>/result.json``.

    Raises:
        UserError: bad configuration or data, a folder that holds another experiment, a loss that is not finite.

    Example:
        >>> run({"strategy": "nieve"})
        Traceback (most recent call last):
        clplat.errors.UserError: unknown strategy 'nieve'; did you mean 'naive'? (allowed: ...
    """
    resolved = resolve(config)
    folder = Path(out) if out is not None else default_folder(resolved)
    with _claimed(folder, resolved):
        if (folder / "result.json").exists():
            result: dict[str, Any] = read_json(folder / "result.json")
            if result["status"] == "complete":
                (listener or Listener()).finished(result)
                return result
        return Experiment(resolved, folder, listener or Listener(), checkpoint_every).run()


@contextmanager
def _claimed(folder: Path, config: Mapping[str, Any]) -> Iterator[None]:
    """Take the folder for this configuration, and for this process alone while it runs."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / ".lock").open("w")
    except OSError as error:
        raise UserError(f"cannot use the output folder {folder}: {error.strerror}") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UserError(f"another process is running the experiment in {folder}") from None
        described = folder / "config.yaml"
        if described.exists():
            held = yaml.safe_load(described.read_text(encoding="utf-8"))
            other = _difference(held, dict(config))
            if other:
                raise UserError(
                    f"{folder} holds another experiment ({other}); choose another --out or remove that folder"
                )
        elif any(p.name not in (".lock",) for p in folder.iterdir()):
            raise UserError(f"{folder} is not empty and holds no experiment; choose another --out")
        else:
            write_text(described, yaml.safe_dump(dict(config), sort_keys=False))
        yield


def _difference(held: Any, wanted: Any, path: str = "") -> str:
    """The first option in which two configurations differ, in words; empty where they agree."""
    if isinstance(held, dict) and isinstance(wanted, dict):
        for key in [*held, *(k for k in wanted if k not in held)]:
            found = _difference(held.get(key), wanted.get(key), f"{path}.{key}".lstrip("."))
            if found:
                return found
        return ""
    held, wanted = (list(v) if isinstance(v, tuple) else v for v in (held, wanted))
    return "" if held == wanted else f"{path} is {held} there and {wanted} here"


class Experiment:
    """The walk of one experiment over its stream; `run` is the way in."""

    def __init__(
        self, config: dict[str, Any], folder: Path, listener: Listener, checkpoint_every: int
    ) -> None:
        self.config, self.folder, self.listener = config, folder, listener
        self.checkpoint_every = checkpoint_every
        self.parts: Assembly = assemble(config)
        self.trainer = make_trainer(config, self.parts, self._on_step)
        self.weights = Weights(self.parts.retriever)
        self.versions = Versions(folder, self.parts, config["evaluation"]["anchors"])
        self.checkpoint = folder / "checkpoint.safetensors"
        self.result = self._blank()

    def run(self) -> dict[str, Any]:
        if self.checkpoint.exists():
            self._resume()
        self.listener.started(self.result)
        if not self.result["metrics"]:
            self._measure(0)
        stream = self.parts.benchmark.train_stream
        while self.trainer.position.experience < len(stream):
            index = self.trainer.position.experience
            if not self.trainer.resuming:
                self.versions.remember_anchors(index)
            start = time.perf_counter()
            try:
                self.trainer.train(stream[index], eval_streams=[])
            except NonFiniteLoss as error:
                self._fail(error)
                raise
            self._spend("train_seconds", start)
            self.trainer.position = type(self.trainer.position)(index + 1)
            self._measure(index + 1)
        self.result["status"] = "complete"
        self._write()
        self.checkpoint.unlink(missing_ok=True)
        self.listener.finished(self.result)
        return self.result

    # -- the parts of a step --------------------------------------------------------------------------------

    def _on_step(self, trainer: Trainer) -> None:
        place = trainer.position
        done = place.epoch * trainer.steps_per_epoch + place.iteration
        self.listener.progress(place.experience, done, trainer.steps_per_epoch * trainer.train_epochs)
        if self.checkpoint_every and trainer.step % self.checkpoint_every == 0:
            save_state(self.checkpoint, trainer, self.weights, self.result)

    def _measure(self, version: int) -> None:
        """Fill one row of R and of C, and put everything on disk before anybody hears of it."""
        start = time.perf_counter()
        retriever = self.parts.retriever.eval()
        row = self.parts.evaluator.row(retriever, lambda j, values: self.listener.cell(version, j, values))
        self._add_row(row)
        self._add_compatibility(version, row)
        self._add_scores(version)
        self._add_cost()
        self._draw(version, row)
        save_tree(self.folder / "ranks" / f"{version}.safetensors", row.ranks)
        save_version(self.folder / "versions" / f"{version}.safetensors", self.trainer, self.weights)
        self._spend("evaluation_seconds", start)
        save_state(self.checkpoint, self.trainer, self.weights, self.result)
        self._write()
        self.listener.row(self.result)

    def _add_row(self, row: Row) -> None:
        for metric, values in row.metrics.items():
            self.result["metrics"].setdefault(metric, []).append(_rounded(values))
        for group in ("tags", "baselines"):
            for name, table in getattr(row, group).items():
                for metric, values in table.items():
                    self.result[group].setdefault(name, {}).setdefault(metric, []).append(_rounded(values))
        self.result["ties"].append(row.ties)
        for name, probe in row.probes.items():
            for metric, value in probe.items():
                self.result["probes"].setdefault(name, {}).setdefault(metric, []).append(_rounded(value))

    def _add_compatibility(self, version: int, row: Row) -> None:
        for metric, values in self.versions.cells(version, row).items():
            table = self.result["compatibility"].setdefault(metric, [])
            for earlier in table:
                earlier.append(None)
            table.append(_rounded(values))

    def _add_scores(self, version: int) -> None:
        primary = self.result["protocol"]["primary"]
        scores: dict[str, Any] = dict(continual_scores(self.result["metrics"][primary]))
        scores |= compatibility_scores(self.result["compatibility"][primary])
        series = [values for probe in self.result["probes"].values() for values in probe.values()]
        kept = [zs_retention(values) for values in series]
        lost = [zs_drop(values) for values in series]
        scores["zs_retention"] = _mean([value for value in kept if value is not None])
        scores["zs_drop"] = _mean([value for value in lost if value is not None])
        self.result["scores"].append({key: _rounded(value) for key, value in scores.items()})

    def _add_cost(self) -> None:
        model = self.parts.retriever
        trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
        cost = self.result["cost"]
        cost["trainable_parameters"] = max(
            cost.get("trainable_parameters", 0), trainable if self.trainer.step else 0
        )
        cost["total_parameters"] = sum(p.numel() for p in model.parameters())
        cost["training_flops"] = self.trainer.flops
        cost["optimizer_steps"] = self.trainer.step
        cost["exemplar_bytes"] = self.parts.strategy.memory_bytes()
        self.result["training"] = _curves(self.trainer.losses)
        peak = provenance.peak_memory_bytes()
        self.result["measured"]["peak_memory_bytes"] = max(
            self.result["measured"].get("peak_memory_bytes", 0), peak
        )

    def _draw(self, version: int, row: Row) -> None:
        held = self.parts.evaluator.sets
        picture = query_grid(self.parts.evaluator.names, held, row, per_domain=1, k=6)
        path = self.folder / "grids" / f"step_{version}.png"
        path.parent.mkdir(exist_ok=True)
        picture.save(path)

    def _fail(self, error: NonFiniteLoss) -> None:
        good = self.folder / "versions" / f"{error.position.experience}.safetensors"
        self.result["status"] = "failed"
        self.result["failure"] = {
            "error": str(error),
            "experience": error.position.experience,
            "step": error.step,
            "batch_ids": error.ids,
            "checkpoint": str(good),
        }
        self._write()
        self.listener.finished(self.result)

    # -- result ---------------------------------------------------------------------------------------------

    def _blank(self) -> dict[str, Any]:
        parts, config = self.parts, self.config
        held = parts.evaluator.sets
        protocol = held[0].protocol
        return {
            "schema": SCHEMA,
            "status": "running",
            "name": f"{config['strategy']['name']} {config['scenario']['name']} s{config['seed']}",
            "command": command_of(config),
            "config": config,
            "domains": parts.evaluator.names,
            "protocol": {
                "name": protocol.name,
                "exclude_reference": protocol.exclude_reference,
                "ks": list(protocol.ks),
                "primary": protocol.primary,
                "split": config["evaluation"]["split"],
                "preprocess": config["data"]["preprocess"],
                "galleries": {
                    n: len(s.gallery.pictures) for n, s in zip(parts.evaluator.names, held, strict=True)
                },
                "queries": {n: len(s.queries) for n, s in zip(parts.evaluator.names, held, strict=True)},
            },
            "metrics": {},
            "tags": {},
            "baselines": {},
            "ties": [],
            "probes": {},
            "compatibility": {},
            "scores": [],
            "training": [],
            "cost": {},
            "data": {"cut_texts": parts.cut_texts, "report": getattr(parts.scenario, "report", {})},
            "fingerprints": {
                "data": parts.scenario.fingerprint(),
                "weights": parts.base_fingerprint,
                "code": provenance.code_fingerprint(),
            },
            "measured": {"train_seconds": 0.0, "evaluation_seconds": 0.0},
            "failure": None,
            "versions": provenance.library_versions(),
        }

    def _resume(self) -> None:
        held = load_state(self.checkpoint, self.trainer, self.weights)
        for key in ("data", "weights", "code"):
            if held["fingerprints"][key] != self.result["fingerprints"][key]:
                what = {
                    "data": "the data has",
                    "weights": "the backbone's weights have",
                    "code": "clplat's code has",
                }
                self.listener.note(
                    f"{what[key]} changed since this experiment began; its result will mix both"
                )
        self.result = held
        self.result["failure"] = None
        self.result["status"] = "running"

    def _spend(self, what: str, start: float) -> None:
        self.result["measured"][what] = round(self.result["measured"][what] + time.perf_counter() - start, 3)

    def _write(self) -> None:
        write_json(self.folder / "result.json", self.result)


def make_trainer(config: Mapping[str, Any], parts: Assembly, on_step: Any = None) -> Trainer:
    """The trainer of an assembled experiment."""
    return Trainer(
        model=parts.retriever,
        strategy=parts.strategy,
        collate=parts.collate,
        loss=parts.loss,
        config=build(config, "train"),
        seed=config["seed"],
        device=config["device"],
        on_step=on_step,
    )


def _rounded(value: Any) -> Any:
    """Percentages to six decimals: more would only be noise of the last bits in a diff."""
    if isinstance(value, list):
        return [_rounded(v) for v in value]
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else None
    return value


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _curves(losses: list[dict[str, float]], points: int = 200) -> dict[str, list[float]]:
    """Loss terms over the whole stream, averaged into at most ``points`` equal stretches of steps."""
    if not losses:
        return {}
    size = math.ceil(len(losses) / points)
    curves: dict[str, list[float]] = {"step": []}
    for start in range(0, len(losses), size):
        stretch = losses[start : start + size]
        curves["step"].append(start + len(stretch))
        for name in sorted({key for entry in losses for key in entry}):
            present = [entry[name] for entry in stretch if name in entry]
            curves.setdefault(name, []).append(_rounded(sum(present) / len(present)) if present else None)  # type: ignore[arg-type]
    return curves
