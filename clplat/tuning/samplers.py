"""Optuna's samplers and pruners by name."""

from __future__ import annotations

import importlib
import math
from typing import TYPE_CHECKING, Any

from clplat.errors import UserError, unknown_name
from clplat.randomness import derive

if TYPE_CHECKING:
    import optuna

__all__ = ["PRUNERS", "SAMPLERS", "make_pruner", "make_sampler"]

SAMPLERS = {
    "tpe": "TPESampler",
    "random": "RandomSampler",
    "gp": "GPSampler",
    "cmaes": "CmaEsSampler",
    "nsga2": "NSGAIISampler",
    "nsga3": "NSGAIIISampler",
    "qmc": "QMCSampler",
}
PRUNERS = ("halving", "none")


def make_sampler(name: str, seed: int, drawn: int) -> optuna.samplers.BaseSampler:
    """A sampler by name, or by the dotted path ``package.module:Class`` of one that takes ``seed``.

    Args:
        seed: of the study.
        drawn: trials that the study has: a process that goes on must not draw its first values again.

    Raises:
        UserError: an unknown name, or a library that it needs is missing.
    """
    from optuna import samplers

    if ":" in name:
        module, _, attribute = name.partition(":")
        try:
            kind: Any = getattr(importlib.import_module(module), attribute)
        except (ImportError, AttributeError) as error:
            raise UserError(f"cannot load the sampler '{name}': {error}") from error
    elif name in SAMPLERS:
        kind = getattr(samplers, SAMPLERS[name])
    else:
        raise unknown_name("sampler", name, SAMPLERS)
    # A quasi-random sequence is one sequence: its place in it is kept by the study itself.
    place = [seed, "sampler"] if name == "qmc" else [seed, "sampler", drawn]
    if name == "cmaes" and importlib.util.find_spec("cmaes") is None:
        raise UserError("the sampler 'cmaes' needs the package cmaes: pip install 'clplat[cmaes]'")
    sampler: optuna.samplers.BaseSampler = kind(seed=derive(*place) % 2**32)  # type: ignore[arg-type]
    return sampler


def make_pruner(name: str, experiences: int) -> optuna.pruners.BasePruner:
    """A pruner over the experiences of a stream.

    ``halving`` stops the worse half of the trials after ceil(E/2) experiences: never earlier, because what
    leads early forgets late (measured: docs/sweeps.md). A stream of three experiences is not worth pruning.

    Raises:
        UserError: an unknown name.
    """
    from optuna import pruners

    if name not in PRUNERS:
        raise unknown_name("pruner", name, PRUNERS)
    if name == "none" or experiences <= 3:
        return pruners.NopPruner()
    return pruners.SuccessiveHalvingPruner(min_resource=math.ceil(experiences / 2), reduction_factor=2)
