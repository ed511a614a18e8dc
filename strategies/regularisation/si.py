"""SI: synaptic intelligence, importance from the path that training takes."""

from __future__ import annotations

from typing import Annotated, Any

from torch import Tensor

from clplat.config.space import Float
from clplat.mechanisms.anchors import Anchor
from clplat.mechanisms.importance_in_training import PathIntegral
from clplat.training.strategy import Strategy, SupportsLearning

__all__ = ["SI"]


class SI(Strategy):
    """Synaptic intelligence: weights whose movement lowered the loss are held near their values.

    ``penalty = c * sum_i Omega_i (theta_i - theta*_i)^2``, with, over the steps t of a domain,
    ``Omega_i <- max(0, Omega_i + sum_t(-g_i(t) dtheta_i(t)) / ((theta_i(end) - theta_i(start))^2 + xi))``

    g is the gradient of the task's loss, without the penalty's, before it is clipped. The sum is what each
    weight's movement took off the loss; by the squared distance it becomes a curvature.

    Args:
        c: strength of the penalty.
        xi: bounds the importance of a weight that hardly moved.

    References:
        Zenke et al. 2017, Continual Learning Through Synaptic Intelligence, arXiv 1703.04200.

    Relations:
        `EWC` and `MAS` hold weights by the same penalty and measure importance otherwise. No pass over the
        data is needed; two copies of the trained weights are.

    Example:
        >>> from strategies import SI
        >>> SI(c=0.5).c
        0.5
    """

    reads_gradient = True
    terms = ("si",)
    stores = "statistics"

    def __init__(
        self,
        c: Annotated[float, Float(0.01, 100.0, log=True)] = 1.0,
        xi: Annotated[float, Float(1e-6, 0.1, log=True)] = 1e-3,
    ) -> None:
        if not (c >= 0 and xi > 0):
            raise ValueError(f"c must be at least 0 and xi greater than 0, not {c} and {xi}")
        self.c, self.xi = c, xi
        self.anchor = Anchor(2 * c)
        self._path = PathIntegral()

    def loss(self, learner: SupportsLearning, batch: Any, outputs: Any) -> dict[str, Tensor]:
        penalty = self.anchor.penalty(learner.model)
        return {} if penalty is None else {"si": penalty}

    def after_backward(self, learner: SupportsLearning) -> None:
        self._path.before_step(learner.model)

    def after_step(self, learner: SupportsLearning, batch: Any, outputs: Any) -> None:
        self.anchor.pull(learner.model, learner.optimizer)
        self._path.after_step(learner.model)

    def after_experience(self, learner: SupportsLearning, experience: Any) -> None:
        moved = self._path.moved(learner.model)
        taken_off = {name: path / (moved[name] + self.xi) for name, path in self._path.path.items()}
        self.anchor.consolidate(learner.model, taken_off)
        for importance in self.anchor.importance.values():
            importance.clamp_(min=0)
        self._path.restart()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if "start" in state:  # a run that release 0.1.0 began
            state = {**state, "path": {"path": state["path"], "start": state["start"]}}
        super().load_state_dict(state)
