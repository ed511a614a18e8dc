"""An earlier version of the model, kept as the tensors that were trainable and swapped in on request."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

from clplat.errors import UserError
from clplat.mechanisms.examples import tensor_bytes
from clplat.models.frozen import weights_fixed
from clplat.models.hashes import Hashes
from clplat.models.names import bare_name, named_buffers, named_parameters, stored_names

__all__ = ["Teacher", "moving", "snapshot"]


def moving(model: nn.Module, statistics: bool = False) -> dict[str, Tensor]:
    """What training changes, by name (not copied): all trainable tensors.

    Args:
        model: any module.
        statistics: also the buffers that move in training, as of batch norms.
    """
    tensors: dict[str, Tensor] = {name: p for name, p in named_parameters(model) if p.requires_grad}
    stored = stored_names(model) if statistics else ()
    for path, module in model.named_modules() if statistics else ():
        own = list(module.parameters(recurse=False))
        if own and not any(p.requires_grad for p in own):
            continue  # frozen, and so in evaluation mode
        buffers = {bare_name(name): b for name, b in module.named_buffers(path, recurse=False)}
        tensors |= {name: buffer for name, buffer in buffers.items() if name in stored}
    return tensors


def snapshot(model: nn.Module, statistics: bool = False) -> dict[str, Tensor]:
    """Copies of what training changes, by name.

    Args:
        model: any module.
        statistics: also the buffers that move in training, as of batch norms; teachers need them.
    """
    return {name: tensor.detach().clone() for name, tensor in moving(model, statistics).items()}


class Predicts(Protocol):
    """What a teacher asks of the loop: the model that it stands in for, and outputs of a batch."""

    @property
    def model(self) -> nn.Module: ...

    @property
    def pretrained(self) -> bool:
        """Whether the model before the stream knew something."""

    def predict(self, batch: Any) -> Any: ...


class Teacher:
    """An earlier or smoother model at the price of its trainable tensors; what was never trained is shared.

    Works for any module. The tensors stand in for the current ones inside `active`, without gradients and
    with dropout off; the graph of a forward pass made before is not touched.

    What it shares must stay as it was. A tensor that becomes trainable later is copied when `active` first
    sees it, so that the teacher does not follow the student; one that has changed before is an error.

    Args:
        tensors: from `snapshot`, by name; taken by `update` unless given.
        which: ``"previous"``: the model before this experience; ``"initial"``: before the stream;
            ``"momentum"``: ``t <- decay * t + (1 - decay) * theta`` after each step; ``"average"``: the mean
            of the model at the start and after every ``every`` steps.
        decay: of a momentum teacher.
        every: steps between two models that an average takes.

    Example:
        >>> model, teacher = nn.Linear(1, 1), Teacher(which="momentum", decay=0.75)
        >>> _ = nn.init.constant_(model.weight, 1.0)
        >>> teacher.update(model)
        >>> _ = nn.init.constant_(model.weight, 2.0)
        >>> teacher.follow(model)
        >>> teacher.tensors["weight"].item()
        1.25
    """

    def __init__(
        self,
        tensors: dict[str, Tensor] | None = None,
        which: Literal["previous", "initial", "momentum", "average"] = "previous",
        decay: float = 0.999,
        every: int = 1,
    ) -> None:
        if not 0 <= decay <= 1 or every < 1:
            raise ValueError(f"decay must lie in [0, 1] and every be at least 1, not {decay} and {every}")
        self.tensors, self.which, self.decay, self.every = tensors, which, decay, every
        self._steps = 0
        #: It has learnt something: not the model before the stream, where that was not pretrained.
        self.knows = True
        self._shared: dict[str, tuple[Tensor, int]] = {}
        self._taken = _versions(tensors or {})

    def update(self, model: nn.Module, pretrained: bool = True) -> None:
        """At the start of an experience: the model as it is becomes the teacher, if it is the one wanted.

        Args:
            model: the student.
            pretrained: whether it knew something before the stream; a previous model that did not has
                nothing to teach in the first experience (`knows`).
        """
        self.knows = pretrained or self.tensors is not None or self.which != "previous"
        if self.tensors is None or self.which == "previous":
            self.tensors = snapshot(model, statistics=True)
            self._taken = _versions(self.tensors)
            own = self.tensors.keys()
            others = {n: p for n, p in named_parameters(model) if n not in own and p.numel() > 1}
            self._shared = _versions(others)

    @torch.no_grad()
    def follow(self, model: nn.Module) -> None:
        """After a step of the optimizer: a momentum or average teacher takes its share of the model."""
        if self.which not in ("momentum", "average"):
            return
        assert self.tensors is not None, "update(model) comes first"
        self._steps += 1
        if self.which == "average" and self._steps % self.every:
            return
        self.absorb(
            model, 1 - self.decay if self.which == "momentum" else 1 / (self._steps // self.every + 1)
        )

    @torch.no_grad()
    def absorb(self, model: nn.Module, share: float) -> None:
        """Move this share of the way to the model as it is: ``t <- (1 - share) t + share theta``."""
        assert self.tensors is not None, "update(model) comes first"
        self._pin(model, dict(named_parameters(model)))
        for name, tensor in moving(model, statistics=True).items():
            own = self.tensors[name]
            if own.is_floating_point() and own.shape == tensor.shape:
                own.lerp_(tensor, share)
            else:  # a counter, or a head that grew
                self.tensors[name] = tensor.detach().clone()

    def outputs(self, learner: Predicts, batch: Any) -> Any:
        """What the teacher makes of a batch, as ``learner.predict`` gives it for the model."""
        with self.active(learner.model):
            return learner.predict(batch)

    def bytes(self) -> int:
        """Bytes of what it holds of its own."""
        return tensor_bytes(self.tensors or {})

    def state_dict(self) -> dict[str, Any]:
        return {"tensors": self.tensors, "steps": self._steps, "knows": self.knows}

    def load_state_dict(self, state: dict[str, Any] | None) -> None:
        if state is None or "steps" not in state:  # a run that release 0.1.0 began
            state = {"tensors": state, "steps": 0}
        self.tensors, self._steps = state["tensors"], state["steps"]
        self.knows = state.get("knows", True)
        self._shared, self._taken = {}, _versions(self.tensors or {})

    @property
    def moves(self) -> bool:
        """Whether it follows the student, or was written to since it was taken: nothing of it is kept."""
        return self.which in ("momentum", "average") or not _unchanged(self.tensors or {}, self._taken)

    @contextmanager
    def active(self, model: nn.Module) -> Iterator[None]:
        """Inside, the model is the teacher.

        Raises:
            RuntimeError: there is no teacher before the first `update`.
            UserError: the model has lost or changed something that the teacher needs.
        """
        if self.tensors is None:
            raise RuntimeError("there is no teacher yet: call update(model) before the experience")
        named = dict(named_parameters(model))
        self._pin(model, named)
        tensors = self.tensors
        parameters: dict[str, Tensor] = {**named, **dict(named_buffers(model))}
        if lost := next((name for name in tensors if name not in parameters), None):
            raise UserError(f"the teacher holds '{lost}', which the model does not have any more")
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
                # What it computes of a picture is the same in every epoch, unless it moves.
                stack.enter_context(nullcontext() if self.moves else weights_fixed())
                yield
        finally:
            for name, data in current.items():
                parameters[name].data = data
            for module, mode in modes.items():
                module.training = mode

    def _pin(self, model: nn.Module, named: Mapping[str, nn.Parameter]) -> None:
        """Copy what became trainable since the snapshot; refuse what changed although it is shared.

        A single number is copied too: loops clamp a frozen scale after each step, as open_clip's does.
        """
        assert self.tensors is not None
        known = self.tensors.keys() | self._shared
        for name in [name for name, p in named.items() if p.numel() == 1 and name not in known]:
            self.tensors[name] = named[name].detach().clone()
            self._taken |= _versions({name: self.tensors[name]})
        shared = {name: p for name, p in named.items() if name not in self.tensors}
        for name, parameter in shared.items():
            shares, version = self._shared.setdefault(name, (parameter, parameter._version))
            if parameter is not shares or parameter._version != version:
                raise UserError(
                    f"'{name}' changed after the teacher was taken, which shares it as a frozen tensor: "
                    "unfreeze before the teacher is taken, or take it anew"
                )
        if not any(parameter.requires_grad for parameter in shared.values()):
            return
        for name, tensor in moving(model, statistics=True).items():
            if name not in self.tensors:
                self.tensors[name] = tensor.detach().clone()
                self._taken |= _versions({name: self.tensors[name]})
                self._shared.pop(name, None)


def _versions(tensors: Mapping[str, Tensor]) -> dict[str, tuple[Tensor, int]]:
    return {name: (tensor, tensor._version) for name, tensor in tensors.items()}


def _unchanged(tensors: Mapping[str, Tensor], known: Mapping[str, tuple[Tensor, int]]) -> bool:
    """Whether these are the known tensors and none was written to since."""
    return all(
        name in known and tensor is known[name][0] and tensor._version == known[name][1]
        for name, tensor in tensors.items()
    )
