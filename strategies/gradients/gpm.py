"""GPM: steps are orthogonal to the inputs that layers had in earlier domains."""

from __future__ import annotations

from typing import Annotated, Any

from torch import Tensor

from clplat.config.space import Float, Int
from clplat.mechanisms.example_gradients import spread
from clplat.mechanisms.input_spaces import InputSpaces
from clplat.mechanisms.layer_inputs import input_covariances
from clplat.mechanisms.projection import FreeSteps
from clplat.training.strategy import Strategy, SupportsLearning

__all__ = ["GPM"]


class GPM(Strategy):
    """Gradient projection memory: a layer's output for what it saw in earlier domains hardly changes.

    ``dW <- dW - dW B B^T`` for the weight W of every linear and convolutional layer, with an orthonormal
    basis B of its inputs: after each domain the fewest further directions are added with which B holds a
    share ``threshold`` of the squared length of the domain's inputs.

    The movement of a step is projected as well as its gradient, so that this holds for any optimizer. No
    example is kept, and a basis is never larger than its layer's input.

    Args:
        threshold: share of the first domain's inputs; more holds more and leaves less room for what is new.
        growth: by which the threshold is higher at each further domain.
        hold: what is no such layer's weight (biases, norms, embeddings) stays after the first domain; False
            trains it freely.
        examples: of a domain that its inputs are taken from, spread evenly over it.
        batch_size: of that pass.

    References:
        Saha et al. 2021, Gradient Projection Memory for Continual Learning, arXiv 2103.09762.

    Needs:
        A learner with ``predict`` and ``data``, and layers of torch's: `torch.nn.Linear`, or
        `torch.nn.Conv2d` without groups. A layer of low-rank adapters is one.

    Relations:
        `OGD` keeps gradients of all weights; the adapter ``osf`` keeps directions of the weights themselves.

    Example:
        >>> from strategies import GPM
        >>> GPM(threshold=0.9).threshold
        0.9
    """

    stores = "statistics"
    reads_data = True

    def __init__(
        self,
        threshold: Annotated[float, Float(0.5, 0.999)] = 0.97,
        growth: float = 0.003,
        hold: bool = True,
        examples: Annotated[int, Int(32, 512, log=True)] = 128,
        batch_size: int = 64,
    ) -> None:
        if not (examples >= 1 and batch_size >= 1):
            raise ValueError(f"examples and batch_size must be at least 1, not {examples} and {batch_size}")
        self.threshold, self.growth, self.hold = threshold, growth, hold
        self.examples, self.batch_size = examples, batch_size
        self.spaces = InputSpaces(threshold, growth)
        self._free = FreeSteps(self._project)

    def _project(self, changes: dict[str, Tensor]) -> None:
        for name, change in changes.items():
            basis = self.spaces.bases.get(name)
            if basis is not None:
                along = change.reshape(len(change), -1) @ basis
                change.sub_((along @ basis.T).reshape(change.shape))
            elif self.hold:
                change.zero_()

    def after_backward(self, learner: SupportsLearning) -> None:
        if self.spaces.bases:
            self._free.before_step(learner.model)

    def after_step(self, learner: SupportsLearning, batch: Any, outputs: Any) -> None:
        if self.spaces.bases:
            self._free.after_step(learner.model)

    def after_experience(self, learner: SupportsLearning, experience: Any) -> None:
        data = spread(learner.data(), self.examples)
        self.spaces.add(input_covariances(learner, data, self.batch_size))
