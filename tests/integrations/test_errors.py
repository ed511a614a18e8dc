"""What cannot work in another library's loop is one line that says what to do."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from clplat.errors import UserError
from clplat.strategies import EWC
from clplat.training.learner import Learner

DATA = [torch.ones(2)] * 4
SAYS = "it comes with the extra [test-integrations]"


@pytest.mark.filterwarnings("ignore:.*LeafSpec")
@pytest.mark.parametrize("manual", [True, False])
def test_lightning(manual: bool) -> None:
    lightning = pytest.importorskip("lightning.pytorch", reason=SAYS)
    from clplat.integrations.lightning import StrategyCallback

    class Forgetful(lightning.LightningModule):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.automatic_optimization = nn.Linear(2, 1), not manual

        def training_step(self, batch: Tensor, index: int) -> Tensor:
            return self.layer(batch).mean()

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    module = Forgetful()
    error = "one optimizer, which Lightning steps" if manual else "add experience.loss"
    with (
        pytest.raises((UserError, RuntimeError), match=error),
        EWC().experience(Learner(module), DATA) as experience,
    ):
        lightning.Trainer(
            max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False,
            enable_progress_bar=False, enable_model_summary=False, callbacks=[StrategyCallback(experience)],
        ).fit(module, torch.utils.data.DataLoader(DATA, 2))  # fmt: skip


def test_a_lightning_module_that_will_be_moved() -> None:
    pytest.importorskip("lightning.pytorch", reason=SAYS)
    from clplat.integrations.lightning import StrategyCallback

    there = SimpleNamespace(strategy=SimpleNamespace(root_device=torch.device("cuda:0")))
    module = SimpleNamespace(device=torch.device("cpu"))
    with pytest.raises(UserError, match=r"the module is on cpu: call module\.to\('cuda:0'\) before"):
        StrategyCallback(None).setup(there, module, "fit")  # type: ignore[arg-type]
