"""Contract tests for parts, ours or yours: subclass one, override ``make``, let pytest run it.

    from clplat.testing import StrategyContract
    from my_package import MyStrategy

    class TestMyStrategy(StrategyContract):
        def make(self):
            return MyStrategy()

They share one tiny world, see `clplat.testing.tiny`. Only pytest runs them; importing needs it not.
"""

from __future__ import annotations

from clplat.testing.adapters import AdapterContract
from clplat.testing.composers import ComposerContract
from clplat.testing.heads import HeadContract
from clplat.testing.loop import TinyTowers, plain_loop, plain_step, tiny_learner
from clplat.testing.losses import LossContract
from clplat.testing.postprocessors import PostProcessorContract
from clplat.testing.probes import ProbesContract
from clplat.testing.projections import ProjectionContract
from clplat.testing.prompts import PromptContract
from clplat.testing.references import ReferenceContract
from clplat.testing.samplers import SamplerContract
from clplat.testing.scenarios import ScenarioContract
from clplat.testing.scorers import ScorerContract
from clplat.testing.strategies import StrategyContract
from clplat.testing.teachers import TeacherContract
from clplat.testing.tiny import (
    nudge,
    task_gradients,
    tiny_backbone,
    tiny_collate,
    tiny_domains,
    tiny_loss,
    tiny_retriever,
)
from clplat.testing.transforms import TransformContract

__all__ = [
    "AdapterContract",
    "ComposerContract",
    "HeadContract",
    "LossContract",
    "PostProcessorContract",
    "ProbesContract",
    "ProjectionContract",
    "PromptContract",
    "ReferenceContract",
    "SamplerContract",
    "ScenarioContract",
    "ScorerContract",
    "StrategyContract",
    "TeacherContract",
    "TinyTowers",
    "TransformContract",
    "nudge",
    "plain_loop",
    "plain_step",
    "task_gradients",
    "tiny_backbone",
    "tiny_collate",
    "tiny_domains",
    "tiny_learner",
    "tiny_loss",
    "tiny_retriever",
]
