"""All that whoever writes a part imports: the contracts, search spaces, and the error for a user's mistake.

from clplat.parts import Composer, Float, ImageFeatures, TextFeatures
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clplat.config.space import Choice as Choice
    from clplat.config.space import Float as Float
    from clplat.config.space import Int as Int
    from clplat.data.batch import Batch as Batch
    from clplat.data.records import Domain as Domain
    from clplat.data.records import Probe as Probe
    from clplat.errors import UserError as UserError
    from clplat.mechanisms.memory import Memory as Memory
    from clplat.mechanisms.teacher import Teacher as Teacher
    from clplat.models.backbone import Backbone as Backbone
    from clplat.models.features import ImageFeatures as ImageFeatures
    from clplat.models.features import TextFeatures as TextFeatures
    from clplat.models.retriever import ComposedRetriever as ComposedRetriever
    from clplat.models.retriever import Outputs as Outputs
    from clplat.parts.adapters._base import Adapter as Adapter
    from clplat.parts.composers._base import Composer as Composer
    from clplat.parts.probes._base import Probes as Probes
    from clplat.parts.projections._base import Projection as Projection
    from clplat.parts.prompts._base import Prompt as Prompt
    from clplat.randomness import generator as generator
    from clplat.training.strategy import Learner as Learner
    from clplat.training.strategy import Strategy as Strategy
    from clplat.training.strategy import SupportsLearning as SupportsLearning

#: Module -> what it hands on. Imported one at a time: a strategy for a plain loop needs no backbone.
_FROM = {
    "clplat.config.space": ("Choice", "Float", "Int"),
    "clplat.data.batch": ("Batch",),
    "clplat.data.records": ("Domain", "Probe"),
    "clplat.errors": ("UserError",),
    "clplat.mechanisms.memory": ("Memory",),
    "clplat.mechanisms.teacher": ("Teacher",),
    "clplat.models.backbone": ("Backbone",),
    "clplat.models.features": ("ImageFeatures", "TextFeatures"),
    "clplat.models.retriever": ("ComposedRetriever", "Outputs"),
    "clplat.parts.adapters._base": ("Adapter",),
    "clplat.parts.composers._base": ("Composer",),
    "clplat.parts.probes._base": ("Probes",),
    "clplat.parts.projections._base": ("Projection",),
    "clplat.parts.prompts._base": ("Prompt",),
    "clplat.randomness": ("generator",),
    "clplat.training.strategy": ("Learner", "Strategy", "SupportsLearning"),
}
_MODULE = {name: module for module, names in _FROM.items() for name in names}

__all__ = [
    *_MODULE,
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE:
        raise AttributeError(f"module 'clplat.parts' has no attribute '{name}'")
    return getattr(importlib.import_module(_MODULE[name]), name)


def __dir__() -> list[str]:
    return sorted(_MODULE)
