"""Optuna's samplers and pruners by name."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Mapping
from importlib.metadata import EntryPoint
from importlib.util import find_spec

from optuna import create_study, pruners
from optuna.samplers import BaseSampler

from clplat.config.space import Space
from clplat.dotted import imported
from clplat.errors import UserError
from clplat.kinds import Kind
from clplat.randomness import derive
from clplat.tuning.spaces import distribution

__all__ = ["PRUNERS", "SAMPLERS", "check_sampler", "make_pruner", "make_sampler"]

SAMPLERS = {
    "tpe": "optuna.samplers:TPESampler",
    "random": "optuna.samplers:RandomSampler",
    "gp": "optuna.samplers:GPSampler",
    "cmaes": "optuna.samplers:CmaEsSampler",
    "nsga2": "optuna.samplers:NSGAIISampler",
    "nsga3": "optuna.samplers:NSGAIIISampler",
    "qmc": "optuna.samplers:QMCSampler",
}
PRUNERS = ("halving", "none")

#: What a dotted name must be.
_DOTTED = Kind("sampler", "", "tpe", contract="optuna.samplers:BaseSampler")


def make_sampler(name: str, seed: int, drawn: int) -> BaseSampler:
    """A sampler by name, or by the dotted path ``package.module:Class`` of one that takes ``seed``.

    Args:
        seed: of the study.
        drawn: trials that the study has: a process that goes on must not draw its first values again.

    Raises:
        UserError: it cannot be loaded or is no sampler, or a library that it needs is missing.
    """
    kind = EntryPoint(name, SAMPLERS[name], "").load() if name in SAMPLERS else imported(_DOTTED, name)
    # A quasi-random sequence is one sequence: its place in it is kept by the study itself.
    place = [seed, "sampler"] if name == "qmc" else [seed, "sampler", drawn]
    if name == "cmaes" and find_spec("cmaes") is None:
        raise UserError("the sampler 'cmaes' needs the package cmaes: pip install 'clplat[cmaes]'")
    try:
        sampler: BaseSampler = kind(seed=derive(*place) % 2**32)  # type: ignore[arg-type]
    except TypeError as error:
        raise UserError(f"the sampler '{name}' cannot be made with a seed alone: {error}") from error
    return sampler


def check_sampler(
    sampler: BaseSampler, name: str, objectives: int, spaces: Iterable[Mapping[str, Space]]
) -> None:
    """Let a sampler draw once from every space, in memory.

    Raises:
        UserError: it cannot search one of them, or not with so many objectives.
    """
    for space in spaces:
        study = create_study(sampler=sampler, directions=["maximize"] * objectives)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                study.ask({key: distribution(each) for key, each in space.items()})
        except Exception as error:  # of Optuna, or of a sampler of the user's own
            why = " ".join(str(error).split())[:200]
            raise UserError(f"the sampler '{name}' cannot search {', '.join(space)}: {why}") from error


def make_pruner(name: str, experiences: int) -> pruners.BasePruner:
    """A pruner over the experiences of a stream.

    ``halving`` stops the worse half of the trials after ceil(E/2) experiences: never earlier, because what
    leads early forgets late (measured: docs/sweeps.md). A stream of three experiences is not worth pruning.
    """
    if name == "none" or experiences <= 3:
        return pruners.NopPruner()
    return pruners.SuccessiveHalvingPruner(min_resource=math.ceil(experiences / 2), reduction_factor=2)
