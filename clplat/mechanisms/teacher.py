"""An earlier version of the model, kept as the tensors that were trainable and swapped in on request."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Literal

import torch
from torch import Tensor, nn

from clplat.models.frozen import weights_fixed
from clplat.models.hashes import Hashes

__all__ = ["Teacher", "snapshot"]


def snapshot(model: nn.Module, statistics: bool = False) -> dict[str, Tensor]:
    """Copies of all trainable tensors, by name.

    Args:
        statistics: also the buffers that move in training, as of batch norms; teachers need them.
    """
    tensors = {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}
    stored = model.state_dict() if statistics else {}
    for path, module in model.named_modules():
        own = list(module.parameters(recurse=False))
        if own and not any(p.requires_grad for p in own):
            continue  # frozen, and so in evaluation mode
        buffers = dict(module.named_buffers(path, recurse=False))
        tensors |= {name: buffer.detach().clone() for name, buffer in buffers.items() if name in stored}
    return tensors


class Teacher:
    """A frozen earlier model at the price of its trainable tensors; what was never trained is shared.

    Works for any module. The tensors stand in for the current ones inside `active`, without gradients and
    with dropout off; the graph of a forward pass made before is not touched.

    Args:
        tensors: from `snapshot`, by parameter name; taken by `update` unless given.
        which: the model that `update` keeps: as it was before this experience, or before the stream.
    """

    def __init__(
        self,
        tensors: dict[str, Tensor] | None = None,
        which: Literal["previous", "initial"] = "previous",
    ) -> None:
        self.tensors, self.which = tensors, which

    def update(self, model: nn.Module) -> None:
        """At the start of an experience: the model as it is becomes the teacher, if it is the one wanted."""
        if self.tensors is None or self.which == "previous":
            self.tensors = snapshot(model, statistics=True)

    def state_dict(self) -> dict[str, Tensor] | None:
        return self.tensors

    def load_state_dict(self, state: dict[str, Tensor] | None) -> None:
        self.tensors = state

    @contextmanager
    def active(self, model: nn.Module) -> Iterator[None]:
        """Inside, the model is the teacher.

        Raises:
            RuntimeError: there is no teacher before the first `update`.
        """
        if self.tensors is None:
            raise RuntimeError("there is no teacher yet: call update(model) before the experience")
        tensors = self.tensors
        parameters = {**dict(model.named_parameters()), **dict(model.named_buffers())}
        modes = {module: module.training for module in model.modules()}
        current = {name: parameters[name].data for name in tensors}
        own = {name: tensor.to(current[name].device) for name, tensor in tensors.items()}
        try:
            for name, tensor in own.items():
                parameters[name].data = tensor
            model.eval()
            with ExitStack() as stack:
                for module in modes:
                    if isinstance(hashes := getattr(module, "hashes", None), Hashes):
                        stack.enter_context(hashes.alias((parameters[name], own[name]) for name in own))
                stack.enter_context(torch.no_grad())
                # What it computes of a picture is the same in every epoch.
                stack.enter_context(weights_fixed())
                yield
        finally:
            for name, data in current.items():
                parameters[name].data = data
            for module, mode in modes.items():
                module.training = mode
