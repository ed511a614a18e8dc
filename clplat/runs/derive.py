"""Runs derived from a finished one: its model versions are merged anew, and nothing is trained."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from clplat import registry
from clplat.config.raw import merge, unflatten
from clplat.config.resolve import resolve, words_of
from clplat.config.resolved import Config
from clplat.documents.result import read_result
from clplat.errors import UserError
from clplat.events import Listener
from clplat.mechanisms.examples import tensor_bytes
from clplat.mechanisms.merging import Merges
from clplat.mechanisms.weight_space import set_weights, weights_of
from clplat.runs.experiment import Experiment
from clplat.runs.load import config_of, put_version, version_file
from clplat.runs.results import PASSES
from clplat.runs.run_folder import RESULT, finished_result, locked_run_folder

__all__ = ["derivations", "derive"]

#: What a merge does not spend again: it is that of the run which trained the versions.
INHERITED = (
    "training_flops", "domain_flops", *PASSES, "optimizer_steps", "trainable_parameters", "exemplar_bytes",
)  # fmt: skip


@dataclass(frozen=True)
class Derivation:
    """One run to be made of another.

    Args:
        source: folder of the finished run.
        folder: where the derived one goes.
        config: that of the source with the merging strategy in place of its own.
        command: that makes it.
    """

    source: Path
    folder: Path
    config: Config
    command: str


def derivations(run: Path | str, raw: Mapping[str, Any], out: Path | None = None) -> list[Derivation]:
    """One derivation for every combination of the listed values.

    Args:
        run: folder of a finished run.
        raw: a merging strategy with its options, several values of one as a list or joined by commas:
            ``{"strategy": "task_arithmetic", "strategy.weight": "0,0.25,0.5"}``.
        out: folder of the derived runs; that of the source unless given.

    Raises:
        UserError: the run is not finished or cannot be merged, or something else than a merging strategy is
            asked for.
    """
    run = Path(run)
    asked = unflatten(raw)
    if others := [slot for slot in asked if slot != "strategy"]:
        raise UserError(f"derive takes a strategy and its options; '{others[0]}' is that of the run itself")
    if "name" not in asked.get("strategy", {}):
        raise UserError("derive needs the strategy that merges: --strategy task_arithmetic, say")
    source = _source(run)
    listed = {key: _listed(value) if key != "name" else [value] for key, value in asked["strategy"].items()}
    found = []
    for values in product(*listed.values()):
        options = dict(zip(listed, values, strict=True))
        config = resolve(merge(source.as_dict(), {"strategy": options}))
        _check(config)
        varied = [f"-{key}{options[key]}" for key in listed if len(listed[key]) > 1]
        name = f"{run.resolve().name}-{options['name']}{''.join(varied)}"
        folder = (out or run.resolve().parent) / name
        found.append(Derivation(run, folder, config, _command(run, options)))
    return found


def derive(derivation: Derivation, listener: Listener | None = None) -> dict[str, Any]:
    """Make a derived run, or go on with it, or return what its folder holds.

    Every version is measured as that of any run. Its cost is that of the source, because nothing is trained;
    ``derived`` in its configuration says what trained the versions.

    Raises:
        UserError: data or weights are no longer those of the source.

    Example:
        >>> options = {"strategy": "patch", "strategy.alpha": [0.25, 0.5]}
        >>> results = [derive(one) for one in derivations("runs/naive-s0", options)]  # doctest: +SKIP
    """
    listener, folder = listener or Listener(), derivation.folder
    with locked_run_folder(folder, derivation.config):
        if (result := finished_result(folder)) is not None:
            listener.finished(result)
            return result
        return _Merging(derivation, listener).run()


class _Merging(Experiment):
    """The walk of an experiment whose next version is made of versions that another one trained."""

    def __init__(self, derivation: Derivation, listener: Listener) -> None:
        super().__init__(derivation.config, derivation.folder, listener)
        self.source, self.trained_by = derivation.source, config_of(derivation.source)
        self.before: dict[str, Any] = read_result(self.source / RESULT)
        for key, what in (("data", "the data"), ("weights", "the backbone's weights")):
            if self.before["fingerprints"][key] != self.result["fingerprints"][key]:
                raise UserError(f"{what} changed since {self.source} was run: its versions cannot be merged")
        own = self.trained_by.as_dict()["strategy"]
        self.result["config"] = {**self.result["config"], "derived": own}
        self.result["command"] = derivation.command
        self.result["measured"]["train_seconds"] = self.before["measured"]["train_seconds"]
        self.points: list[dict[str, Tensor]] = []
        self._initial = {name: t.detach().clone() for name, t in self.parts.retriever.state_dict().items()}

    def _learn(self, index: int) -> None:
        retriever, strategy = self.parts.retriever, cast("Merges", self.parts.strategy)
        while len(self.points) < index + 2:
            self._put(len(self.points))
            self.points.append(weights_of(retriever))
        set_weights(retriever, strategy.merge(self.points))

    @torch.no_grad()
    def _put(self, version: int) -> None:
        """The source's version, in a model that is otherwise as it was made."""
        retriever = self.parts.retriever
        for name, tensor in retriever.state_dict().items():
            if not torch.equal(tensor, self._initial[name]):  # writing to a frozen tensor marks it as changed
                tensor.copy_(self._initial[name])
        put_version(version_file(self.source, version), self.trained_by, retriever)

    def _add_costs(self) -> None:
        super()._add_costs()
        spent = self.before["cost"]
        self.result["cost"] |= {key: spent[key] for key in INHERITED if key in spent}
        self.result["cost"]["state_bytes"] = tensor_bytes(self.points)
        self.result["training"] = self.before["training"]


def _source(run: Path) -> Config:
    """The configuration of a finished run whose versions can be merged."""
    if not (run / RESULT).exists():
        raise UserError(f"{run} holds no run: name the folder of a finished one")
    result = read_result(run / RESULT)
    if result["status"] != "complete":
        raise UserError(f"the run in {run} is {result['status']}: finish it before it is merged")
    if "derived" in result["config"]:
        raise UserError(f"{run} is derived itself: name the run that was trained")
    config = config_of(run)
    if config.make("strategy").grows:
        name = config.name("strategy")
        raise UserError(f"strategy '{name}' grows its model: versions that differ in it cannot be merged")
    return config


def _command(run: Path, options: Mapping[str, Any]) -> str:
    words = ["clplat", "derive", str(run), "--strategy", str(options["name"])]
    for key, value in options.items():
        words += words_of(f"strategy.{key}", value) if key != "name" else []
    return shlex.join(words)


def _check(config: Config) -> None:
    if not hasattr(config.make("strategy"), "merge"):
        able = [n for n in registry.names("strategies") if hasattr(registry.load("strategies", n), "merge")]
        raise UserError(
            f"strategy '{config.name('strategy')}' cannot merge finished models; allowed: {', '.join(able)}"
        )


def _listed(value: Any) -> list[Any]:
    if isinstance(value, list):
        return value
    return [part.strip() for part in value.split(",")] if isinstance(value, str) else [value]
