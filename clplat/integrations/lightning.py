"""A strategy in a Lightning trainer: a callback, and one term in ``training_step``."""

from __future__ import annotations

from typing import Any

from clplat.errors import UserError
from clplat.extras import named_extras
from clplat.training.experience import Running

with named_extras("a strategy in a Lightning trainer"):
    from lightning.pytorch import Callback

__all__ = ["StrategyCallback"]


class StrategyCallback(Callback):  # type: ignore[misc]
    """Tells a strategy of the steps of ``Trainer.fit``.

    ``training_step`` adds ``experience.loss(batch, outputs)`` to its loss. Checkpoints of the trainer hold
    what the strategy remembers, and ``fit(ckpt_path=...)`` in the same experience goes on from there.

    Args:
        experience: whose learner has the Lightning module, or a part of it, as its model.
    """

    def __init__(self, experience: Running) -> None:
        self.experience, self._restored = experience, False

    def state_dict(self) -> dict[str, Any]:
        return self.experience.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.experience.load_state_dict(state_dict)
        self._restored = True

    def setup(self, trainer: Any, module: Any, stage: str) -> None:
        here, there = module.device, trainer.strategy.root_device
        if here != there:  # what the strategy remembers by now lies where the module is
            raise UserError(
                f"the module is on {here}: call module.to('{there}') before the experience begins"
            )

    def on_train_start(self, trainer: Any, module: Any) -> None:
        if len(trainer.optimizers) != 1 or not module.automatic_optimization:
            raise UserError(
                "a strategy follows one optimizer, which Lightning steps (automatic_optimization)"
            )
        if trainer.ckpt_path and not self._restored:
            raise UserError(
                f"{trainer.ckpt_path} holds nothing of the strategy: it was written without StrategyCallback"
            )
        self.experience.follow(trainer.optimizers[0])

    def on_train_epoch_start(self, trainer: Any, module: Any) -> None:
        self.experience.epoch(trainer.current_epoch)

    def on_before_optimizer_step(self, trainer: Any, module: Any, optimizer: Any) -> None:
        # Unscaled by now, where there is a scaler.
        scaler = getattr(trainer.precision_plugin, "scaler", None)
        self.experience.after_backward(None if scaler is None else 1.0)

    def on_fit_end(self, trainer: Any, module: Any) -> None:
        module.to(trainer.strategy.root_device)  # Lightning has taken it to the CPU
