"""The contract of a continual-learning strategy: a plain object with a small life cycle.

A strategy runs in any training loop. The loop hands it a *learner*: our `Trainer`'s, or a `Learner` made in
one line around a plain torch loop. What a strategy needs decides what the learner must offer:

===================================  =====================================================
needs                                offered as
===================================  =====================================================
weights (EWC, patch, frozen)         ``learner.model``, ``learner.optimizer``
where training stands (ramps)        ``learner.progress``, a `clplat.progress.Progress`
outputs of an older model (distill)  ``learner.predict(batch) -> outputs``
the task's own loss (replay, agem)   ``learner.task_loss(batch, outputs) -> scalar``
what is trained on (memories)        ``learner.data()``, ``learner.passes(data, batch_size)``
pictures or texts alone (ZSCL)       ``learner.items(items)``, ``learner.embed(items)``
data beside the stream (ZSCL)        ``learner.reference.sample(progress, pictures, texts)``
===================================  =====================================================
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from torch import nn

from clplat.extras import named_extras
from clplat.mechanisms.examples import tensor_bytes
from clplat.mechanisms.memory import Memory
from clplat.training.boundary_free import Stream
from clplat.training.experience import Running
from clplat.training.hooks import Hooks, SupportsLearning
from clplat.training.learner import Learner
from clplat.training.order import CHECKED, checked

__all__ = ["Strategy", "SupportsLearning"]


class Strategy(Hooks):
    """Base of all strategies; every hook does nothing, so that a method writes only what it changes.

    What a training loop calls is in `clplat.training.hooks.Hooks`.

    The constructor's typed arguments are the configuration; it only stores them. A part whose constructor
    takes ``seed: int | None = None`` is given the experiment's seed.
    """

    #: What it is in a comparison: a method, or one of the controls that methods are compared with.
    role: ClassVar[Literal["method", "lower bound", "upper bound"]] = "method"
    #: It changes weights. False for a strategy that never updates.
    trains: ClassVar[bool] = True
    #: It works around any torch module; False: it needs a `ComposedRetriever`.
    any_module: ClassVar[bool] = True
    #: It compares embeddings of two sides with each other: the logits of a classifier are refused.
    needs_embeddings: ClassVar[bool] = False
    #: `after_backward` measures the task's gradient: terms of other strategies are taken out of what it sees.
    reads_gradient: ClassVar[bool] = False
    #: Names of the terms that `loss` adds to the task's, from the second experience on at the latest.
    terms: ClassVar[tuple[str, ...]] = ()
    #: What it keeps of the past, beside the model.
    stores: ClassVar[Literal["nothing", "exemplars", "weights", "statistics", "everything"]] = "nothing"
    #: Where several processes train together, its state is the same in each. False: each stores what it saw.
    shares: ClassVar[bool] = True
    #: Slots that it fills itself or cannot share: a part there would train beside its own, and is refused.
    brings: ClassVar[tuple[str, ...]] = ()
    #: The adapter whose plain training a comparison puts in place of what it brings, with its own options
    #: that the adapter has too. Not needed where one of them is that adapter or prompt.
    plain: ClassVar[str] = ""
    #: Its terms are all that is trained on: the slot ``loss`` is empty unless another is named.
    replaces_task_loss: ClassVar[bool] = False
    #: It looks at what was trained on when an experience is over, ``learner.data()``.
    reads_data: ClassVar[bool] = False
    #: It learns from data beside the stream, ``learner.reference``.
    reads_reference: ClassVar[bool] = False
    #: It sends inputs to experts by a router: how often that is right is measured of every version.
    routes: ClassVar[bool] = False
    #: Attributes that a resumed run needs: tensors and plain data. The key has no leading underscore.
    state: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls, **more: Any) -> None:
        super().__init_subclass__(**more)
        for name in CHECKED:
            if name in vars(cls):
                setattr(cls, name, checked(vars(cls)[name]))

    def state_dict(self) -> dict[str, Any]:
        """Everything that a resumed run needs: the attributes in `state`, and the state of its parts.

        A part is an attribute with a ``state_dict`` of its own, such as a `Memory` or a `Teacher`.
        """
        own = {name.lstrip("_"): getattr(self, name) for name in self.state}
        return own | {name.lstrip("_"): part.state_dict() for name, part in _stateful(self)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        for name in self.state:
            setattr(self, name, state[name.lstrip("_")])
        for name, part in _stateful(self):
            part.load_state_dict(state[name.lstrip("_")])

    @property
    def grows(self) -> bool:
        """Whether it adds to the model's structure, which `rebuild` makes again."""
        return type(self).rebuild is not Strategy.rebuild

    def rebuild(self, learner: SupportsLearning) -> None:
        """After `load_state_dict`: grow the model to the structure that the state describes."""

    def memory_bytes(self) -> int:
        """Bytes of stored exemplars (pictures, texts); zero for methods without a memory."""
        return 0

    def state_bytes(self) -> int:
        """Bytes of all tensors that it keeps beside model and exemplars, as of teachers and importances."""
        own = [getattr(self, name) for name in self.state]
        # Once each: an argument that is a part may stand under a second name.
        parts = {id(part): part for _, part in _stateful(self) if not isinstance(part, Memory)}
        return tensor_bytes(own) + sum(map(_bytes, parts.values()))

    def numbers(self) -> dict[str, float]:
        """Numbers of its own after an experience, by name: a gap, counts, coefficients of a merge.

        They are asked for once an experience, go into the result and to MLflow, and decide about nothing. All
        are finite; what an experience has none of is left out. They are read from what a resumed run has too.
        """
        return {}

    def experience(self, learner: Learner, dataset: Any = None, number: int | None = None) -> Running:
        """An experience in a loop of one's own: a context inside which the hooks run by themselves.

        They run where ``learner.optimizer`` steps: once a step, on gradients that are complete and unscaled,
        with accumulation, a gradient scaler or another library's trainer as well. The loop adds one term.

        Args:
            learner: the loop's model and optimizer, and what else the strategy asks for.
            dataset: what is trained on; strategies with a memory look at it, `Cumulative` joins it.
            number: of the experience; by default the experiences of this object are counted.

        Example:
            >>> import torch
            >>> from strategies import EWC
            >>> model = torch.nn.Linear(1, 1)
            >>> learner, ewc = Learner(model, torch.optim.SGD(model.parameters(), lr=0.1)), EWC()
            >>> for x, y in [(torch.ones(4, 1), torch.ones(4, 1)), (torch.ones(4, 1), torch.zeros(4, 1))]:
            ...     with ewc.experience(learner) as experience:
            ...         outputs = model(x)
            ...         loss = (outputs - y).square().mean() + experience.loss((x, y), outputs)
            ...         loss.backward()
            ...         learner.optimizer.step()
            >>> learner.progress.step, sorted(ewc.fisher)
            (2, ['bias', 'weight'])
        """
        return Running(self, learner, dataset, number)

    def stream(self, learner: Learner, every: int) -> Stream:
        """A stream without boundaries: an experience ends after every so many steps, and the next begins.

        For strategies that neither grow nor choose their data, such as online `EWC`, `Replay` and `AGEM`.
        What a memory chooses from is what went by since the last boundary, which is kept until the next one:
        ``every`` batches.

        Args:
            learner: as in `experience`.
            every: optimizer steps of an experience; the last one may be shorter.

        Example:
            >>> import torch
            >>> from strategies import EWC
            >>> model = torch.nn.Linear(1, 1)
            >>> learner, ewc = Learner(model, torch.optim.SGD(model.parameters(), lr=0.1)), EWC(gamma=0.9)
            >>> with ewc.stream(learner, every=2) as stream:
            ...     for x in torch.ones(5, 4, 1):
            ...         outputs = model(x)
            ...         (outputs.square().mean() + stream.loss(x, outputs)).backward()
            ...         learner.optimizer.step()
            >>> learner.progress.experience, learner.progress.step
            (2, 5)
        """
        return Stream(self, learner, every)

    def as_plugin(self) -> Any:
        """This strategy as an Avalanche plugin, for any Avalanche template.

        Example:
            >>> from strategies import EWC
            >>> plugin = EWC(lam=10.0).as_plugin()
        """
        with named_extras("an Avalanche plugin"):
            from clplat.training.plugin import StrategyPlugin

        return StrategyPlugin(self)


for _name in CHECKED:
    if _name != "training_set":  # which a strategy either chooses or not
        setattr(Strategy, _name, checked(getattr(Hooks, _name)))


def _stateful(strategy: Strategy) -> list[tuple[str, Any]]:
    """The parts that a strategy holds, by attribute; modules without tensors have no state."""
    stateful = [(name, part) for name, part in vars(strategy).items() if hasattr(part, "load_state_dict")]
    return [(name, part) for name, part in stateful if not isinstance(part, nn.Module) or part.state_dict()]


def _bytes(part: Any) -> int:
    """What a part says of itself, or the tensors of its state."""
    return int(part.bytes()) if hasattr(part, "bytes") else tensor_bytes(part.state_dict())
