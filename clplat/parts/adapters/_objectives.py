"""Objectives that belong to methods of PEFT, which PEFT leaves to the training loop."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

import torch
from torch import Tensor

__all__ = ["objectives_of"]

#: The layers that the adapter wraps, its name and its options -> its objectives, weighted.
Objectives: TypeAlias = Callable[[Iterable[Any], str, Mapping[str, Any]], dict[str, Tensor]]


def objectives_of(
    method: str, layers: Iterable[Any], name: str, options: Mapping[str, Any]
) -> dict[str, Tensor]:
    """The objectives of an adapter's own for a training step, by name; most methods have none."""
    made = _OBJECTIVES.get(method)
    return made(layers, name, options) if made is not None else {}


def _orthonormal(layers: Iterable[Any], name: str, options: Mapping[str, Any]) -> dict[str, Tensor]:
    """AdaLoRA: the mean over all factors of how far their ranks are from an orthonormal system."""
    factors = [f for layer in layers for f in (layer.lora_A[name], layer.lora_B[name].T) if f.requires_grad]
    weight = options["orth_reg_weight"]
    if not weight or not factors:
        return {}
    return {"orthonormal": weight * torch.stack([_from_orthonormal(factor) for factor in factors]).mean()}


def _knowledge_aware(layers: Iterable[Any], name: str, options: Mapping[str, Any]) -> dict[str, Tensor]:
    """KaSA: small singular values of the update, and nearly orthonormal factors; summed over the layers."""
    terms = []
    for layer in layers:
        factors = layer.lora_A[name].weight, layer.lora_B[name].weight.T
        terms.append(options["beta"] * layer.lora_diag[name].square().sum())
        terms += [options["gamma"] * _from_orthonormal(factor) for factor in factors]
    return {"knowledge_aware": torch.stack(terms).sum()}


def _variational(layers: Iterable[Any], name: str, options: Mapping[str, Any]) -> dict[str, Tensor]:
    """MonteCLoRA: the divergence of what is drawn from its priors, the mean over the layers."""
    terms = [sum(layer.lora_monteclora_sampler[name].get_variational_loss()) for layer in layers]
    return {"variational": torch.stack([torch.as_tensor(term) for term in terms]).mean()}


def _from_orthonormal(rows: Tensor) -> Tensor:
    """How far rows (r, D) are from orthonormal ones: ``|rows rows^T - I|``."""
    distance: Tensor = torch.linalg.matrix_norm(rows @ rows.T - torch.eye(len(rows)).to(rows))
    return distance


_OBJECTIVES: dict[str, Objectives] = {
    "adalora": _orthonormal,
    "kasa": _knowledge_aware,
    "monteclora": _variational,
}
