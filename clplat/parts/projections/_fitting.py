"""What every fitted projection shares: checked pairs, and matrices that load into an unfitted instance."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from clplat.errors import UserError

__all__ = ["apply_matrix", "checked_pairs", "register_matrix"]


def checked_pairs(new: Tensor, old: Tensor, part: str) -> tuple[Tensor, Tensor]:
    """Return the pairs in float64 on the CPU, where fits are exact and the same for every device.

    Raises:
        UserError: the rows are no pairs, there are none, or a value is not finite; ``part`` is named.
    """
    if new.ndim != 2 or old.ndim != 2 or len(new) != len(old):
        shapes = f"{tuple(new.shape)} and {tuple(old.shape)}"
        raise UserError(f"{part} needs pairs of embeddings (N, D_new) and (N, D_old), not {shapes}")
    if len(new) == 0:
        raise UserError(f"{part} needs at least one pair of embeddings")
    for name, rows in (("new", new), ("old", old)):
        if not torch.isfinite(rows).all():
            row = int((~torch.isfinite(rows)).any(1).nonzero()[0])
            raise UserError(f"{part} cannot be fitted: row {row} of the {name} embeddings is NaN or infinite")
    return new.detach().double().cpu(), old.detach().double().cpu()


def register_matrix(module: nn.Module, *names: str) -> None:
    """Give ``module`` the buffer ``matrix`` (D_new, D_old), or ``names``, empty until fitted or loaded.

    It is a buffer, not a parameter: it is fitted once, saved with the model and left alone by optimizers. A
    state dict loads whatever its shape, so that a fresh instance takes over a fitted one.
    """
    for name in names or ("matrix",):
        module.register_buffer(name, torch.empty(0, 0))
    module.register_load_state_dict_pre_hook(_adopt_shape)  # type: ignore[no-untyped-call]


def _adopt_shape(module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    for name, own in list(module.named_buffers(recurse=False)):
        stored = state.get(prefix + name)
        if isinstance(stored, Tensor) and stored.shape != own.shape:
            module.register_buffer(name, own.new_empty(stored.shape))


def apply_matrix(x: Tensor, matrix: Tensor, part: str) -> Tensor:
    """Return the unit rows of ``x @ matrix``, in float32.

    Raises:
        UserError: the projection is not fitted, or was fitted for another width.
    """
    if matrix.numel() == 0:
        raise UserError(f"{part} is not fitted yet: call fit(new, old) or load a fitted one")
    if x.shape[-1] != matrix.shape[0]:
        raise UserError(f"{part} was fitted for embeddings of width {matrix.shape[0]}, not {x.shape[-1]}")
    return normalize(x.float() @ matrix.float(), dim=-1)
