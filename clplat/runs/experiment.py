"""One experiment: stream -> trainer -> evaluator -> result on disk -> tracker. The same call everywhere."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch

from clplat.config.resolve import resolve
from clplat.config.resolved import Config
from clplat.documents.result import checked_result
from clplat.errors import UserError
from clplat.evaluation.chance import chance_warning
from clplat.evaluation.comparing import compared_by
from clplat.evaluation.model_view import VersionView
from clplat.events import Listener
from clplat.files import write_json
from clplat.models.frozen import weights_fixed
from clplat.retrieval_grid import query_grid, save_picture
from clplat.runs.assembly import Assembly, assemble, make_trainer, refuse_idle_parts
from clplat.runs.blank import blank, changed_since, completed_result
from clplat.runs.checkpoint import Weights, load_state, save_state, save_version
from clplat.runs.failure import ERROR, last_good, one_line, recorded
from clplat.runs.fitting import fit_composer
from clplat.runs.index_versions import IndexVersions
from clplat.runs.load import load
from clplat.runs.post_processing import note_post_processing, reranked
from clplat.runs.processing import Processing
from clplat.runs.refusals import remarks
from clplat.runs.results import add_costs, add_numbers, add_row
from clplat.runs.reuse import Reuse
from clplat.runs.row_files import keep_row
from clplat.runs.run_folder import CHECKPOINT, RESULT, default_folder, finished_result, locked_run_folder
from clplat.runs.ties import note_ties
from clplat.training.trainer import Position, Trainer

#: Share of the training time that checkpoints may take inside an experience.
CHECKPOINT_SHARE = 0.01


def run(
    config: Mapping[str, Any] | Config,
    out: Path | str | None = None,
    *,
    listener: Listener | None = None,
    checkpoint_every: int | None = None,
) -> dict[str, Any]:
    """Run an experiment, or finish or return the one that ``out`` holds.

    Args:
        config: raw or resolved, see `clplat.config.resolve.resolve`.
        out: folder of results and checkpoints; by default `clplat.runs.run_folder.default_folder`.
        listener: receives the events of the progress.
        checkpoint_every: optimizer steps between checkpoints inside an experience, 0 for none there; unless
            given, a hundred times as long passes between two as writing one takes.

    Returns:
        The result, schema 2 (``docs/result.md``), as in ``<out>/result.json``.

    Raises:
        UserError: bad configuration or data, a folder with another experiment, a loss that is not finite.

    Example:
        >>> run({"strategy": "nieve"})
        Traceback (most recent call last):
        clplat.errors.UserError: unknown strategy 'nieve'; did you mean 'naive'? (allowed: ...
    """
    resolved = resolve(config)
    listener = listener or Listener()
    folder = Path(out) if out is not None else default_folder(resolved)
    with locked_run_folder(folder, resolved):
        if (result := finished_result(folder)) is not None:
            listener.finished(result)
            return result
        (folder / ERROR).unlink(missing_ok=True)
        with one_line(resolved, folder, listener):
            experiment = Experiment(resolved, folder, listener, checkpoint_every)
        return experiment.run()


class Experiment:
    """The walk of one experiment over its stream; `run` is the way in."""

    def __init__(
        self, config: Config, folder: Path, listener: Listener, checkpoint_every: int | None = None
    ) -> None:
        self.config, self.folder, self.listener = config, folder, listener
        self.checkpoint_every = checkpoint_every
        self.parts: Assembly = assemble(config)
        refuse_idle_parts(config, self.parts)
        self.trainer = make_trainer(config, self.parts, self._on_step)
        self.weights = Weights(self.parts.retriever, self.parts.base)
        self.versions = IndexVersions(folder, self.parts, config.evaluation.anchors)
        maps = self.parts.postprocessor is not None and self.parts.postprocessor.maps
        limit = config.evaluation.anchors
        self.processing = Processing(folder, self.parts, limit) if maps else None
        self.checkpoint = folder / CHECKPOINT
        self._next_checkpoint = 0.0
        self.result = blank(config, self.parts)
        self.reuse = Reuse(self.parts.cache, self.parts.pixels, listener)

    def run(self) -> dict[str, Any]:
        if self.checkpoint.exists():
            self._resume()
        self.listener.started(self.result)
        for remark in remarks(self.config, self.parts.scenario):
            self.listener.note(remark)
        try:
            with one_line(self.config, self.folder, self.listener):
                self._walk()
        except UserError as error:
            raise self._failed(error) from error
        except torch.OutOfMemoryError as error:
            less = UserError(f"{self.config.device} is out of memory; try a smaller --train.batch_size")
            raise self._failed(less) from error
        self.result["status"] = "complete"
        self._write()
        self.checkpoint.unlink(missing_ok=True)
        self.listener.finished(self.result)
        return self.result

    def _walk(self) -> None:
        if not self.result["metrics"]:
            self._measure(0)
        while self.trainer.position.experience < len(self.result["domains"]):
            index = self.trainer.position.experience
            if not self.trainer.resuming:
                self.versions.remember_anchors(index)
            start = time.perf_counter()
            self._learn(index)
            self._spend("train_seconds", start)
            if not self.weights.finite():
                where = f"experience {index} ({self.result['domains'][index]})"
                raise UserError(f"the weights are not finite after {where}; try a smaller --train.lr")
            self.trainer.position = Position(index + 1)
            self._measure(index + 1)

    def _learn(self, index: int) -> None:
        """From one version of the model to the next."""
        self.trainer.train(self.parts.benchmark.train_stream[index], eval_streams=[])

    def _on_step(self, trainer: Trainer) -> None:
        place = trainer.position
        if (place.epoch, place.iteration) == (0, 1):  # what is trained changes between experiences only
            self.weights.look()
        done = place.epoch * trainer.steps_per_epoch + place.iteration
        self.listener.progress(place.experience, done, trainer.steps_per_epoch * trainer.train_epochs)
        if self.checkpoint_every is None:
            due = time.perf_counter() > self._next_checkpoint
        else:
            due = self.checkpoint_every > 0 and trainer.step % self.checkpoint_every == 0
        if due:
            self._save()

    def _save(self) -> None:
        start = time.perf_counter()
        save_state(self.checkpoint, self.trainer, self.weights, self.result)
        now = time.perf_counter()
        self._next_checkpoint = now + (now - start) / CHECKPOINT_SHARE

    def _measure(self, version: int) -> None:
        """Fill one row of R and of C, and put everything on disk before the listener gets it."""
        start = time.perf_counter()
        retriever = self.parts.retriever.eval()
        if self.parts.cache is not None:
            self.parts.cache.refresh()
        with weights_fixed(), retriever.as_version(version):
            fit_composer(self.parts, version, self.config.evaluation.anchors)
            row = self.parts.evaluator.row(
                retriever, partial(self.listener.cell, version), version=version, older=self._older
            )
            spent = reranked(self.parts, version, row, self.config.evaluation.anchors)
            if self.processing is not None:
                self.processing.begin(version)
            cells = self.versions.cells(version, row, self.processing)
            if self.processing is not None:
                self.processing.finish(row)
            backfill = self.versions.backfill(version, row)
        evaluator = self.parts.evaluator
        picture = query_grid(evaluator.names, evaluator.sets, row.lists[evaluator.split], row.ranks)
        save_picture(picture, self.folder / "grids" / f"step_{version}.png")
        keep_row(self.folder, version, row)
        save_version(self.folder / "versions" / f"{version}.safetensors", self.trainer, self.weights)
        add_row(self.result, row, cells.pop(""), backfill, views=cells)
        add_numbers(self.result, self.parts.strategy.numbers() if version else {})
        if version == 0 and (said := chance_warning(self.result, row.values)):
            self.listener.note(said)
        note_post_processing(self.result, row, spent, self.processing, evaluator.split)
        note_ties(self.result, self.listener)
        self._add_costs()
        self.reuse.note(self.result["measured"])
        self._spend("evaluation_seconds", start)
        self._save()
        self._write()
        self.listener.row(self.result)

    def _older(self, version: int) -> VersionView:
        """An earlier version in the hands of probes; its weights are loaded only for one that embeds."""
        with self.parts.retriever.as_version(version):
            compared, *_ = compared_by(self.parts.retriever).values()
        return self.parts.evaluator.view(
            lambda: load(self.folder, version),
            version,
            lambda: self.versions.galleries(version),
            compared=compared,
        )

    def _add_costs(self) -> None:
        add_costs(self.result, self.parts, self.trainer)

    def _failed(self, error: UserError) -> UserError:
        """Put the failure on disk beside what is known; the checkpoints stay, so that a rerun goes on."""
        place = self.trainer.position.experience
        good = last_good(self.folder, place)
        where = {"experience": min(place, len(self.result["domains"]) - 1), "step": self.trainer.step}
        self.result |= {"failure": {**recorded(error), **where, "checkpoint": good}, "status": "failed"}
        if good is None:  # no row is on disk: the folder stays free for a mended configuration
            return error
        try:
            self._write()
        except UserError as second:  # a full disk, say; the user must see what happened first
            self.listener.note(str(second))
        self.listener.finished(self.result)
        return UserError(f"{error}; the last good version is {self.folder / good}")

    def _resume(self) -> None:
        try:
            held = checked_result(load_state(self.checkpoint, self.trainer, self.weights), self.checkpoint)
        except UserError as error:
            raise UserError(f"{error}; remove that file to begin this experiment again") from error
        for what in changed_since(held, self.result):
            self.listener.note(f"{what} changed since this experiment began; its result will mix both")
        chance = held.get("chance") or self.result["chance"]  # which older checkpoints do not know
        self.result = {**completed_result(held), "chance": chance, "status": "running", "failure": None}
        self.reuse.before = held["measured"].get("features", {})

    def _spend(self, what: str, start: float) -> None:
        self.result["measured"][what] = round(self.result["measured"][what] + time.perf_counter() - start, 3)

    def _write(self) -> None:
        write_json(self.folder / RESULT, self.result)
