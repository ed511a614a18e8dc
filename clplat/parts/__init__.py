"""Parts by kind, and all that one imports in one line: contracts, records, search spaces, errors of users.

from clplat.parts import Composer, Float, ImageFeatures, TextFeatures
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from clplat.extras import named_extras

if TYPE_CHECKING:
    from clplat.config.space import Choice as Choice
    from clplat.config.space import Float as Float
    from clplat.config.space import Int as Int
    from clplat.data.batch import Batch as Batch
    from clplat.data.decoding import open_picture as open_picture
    from clplat.data.fingerprint import stream_fingerprint as stream_fingerprint
    from clplat.data.records import Candidate as Candidate
    from clplat.data.records import Domain as Domain
    from clplat.data.records import Example as Example
    from clplat.data.records import Gallery as Gallery
    from clplat.data.records import Item as Item
    from clplat.data.records import Metric as Metric
    from clplat.data.records import Pair as Pair
    from clplat.data.records import Picture as Picture
    from clplat.data.records import Protocol as Protocol
    from clplat.data.records import Query as Query
    from clplat.data.records import RetrievalSet as RetrievalSet
    from clplat.data.records import Triplet as Triplet
    from clplat.data.scenario import Scenario as Scenario
    from clplat.errors import UserError as UserError
    from clplat.evaluation.probes import ClassificationProbe as ClassificationProbe
    from clplat.evaluation.probes import RetrievalProbe as RetrievalProbe
    from clplat.mechanisms.memory import Memory as Memory
    from clplat.mechanisms.parameter_groups import Group as Group
    from clplat.mechanisms.parameter_groups import layer_decay as layer_decay
    from clplat.mechanisms.relation import relation_kl as relation_kl
    from clplat.mechanisms.teacher import Teacher as Teacher
    from clplat.mechanisms.teacher import snapshot as snapshot
    from clplat.models.backbone import Backbone as Backbone
    from clplat.models.features import ImageFeatures as ImageFeatures
    from clplat.models.features import TextFeatures as TextFeatures
    from clplat.models.names import named_parameters as named_parameters
    from clplat.models.outputs import Outputs as Outputs
    from clplat.models.outputs import Rows as Rows
    from clplat.models.outputs import cosines as cosines
    from clplat.models.prompt import TowerPrompt as TowerPrompt
    from clplat.models.readout import Readout as Readout
    from clplat.models.readout import install_readout as install_readout
    from clplat.models.view import Towers as Towers
    from clplat.parts.adapters._base import Adapter as Adapter
    from clplat.parts.composers._base import Composer as Composer
    from clplat.parts.heads._base import Head as Head
    from clplat.parts.heads._base import View as View
    from clplat.parts.losses._base import Loss as Loss
    from clplat.parts.losses.info_nce import info_nce as info_nce
    from clplat.parts.postprocessors._base import PostProcessor as PostProcessor
    from clplat.parts.postprocessors._base import Shortlist as Shortlist
    from clplat.parts.probes._base import ModelView as ModelView
    from clplat.parts.probes._base import Probe as Probe
    from clplat.parts.probes._base import Probes as Probes
    from clplat.parts.probes._contrasts import Contrast as Contrast
    from clplat.parts.probes._contrasts import Contrasts as Contrasts
    from clplat.parts.projections._base import Projection as Projection
    from clplat.parts.projections._fitting import apply_matrix as apply_matrix
    from clplat.parts.projections._fitting import register_matrix as register_matrix
    from clplat.parts.prompts._base import Prompt as Prompt
    from clplat.parts.references._base import Reference as Reference
    from clplat.parts.samplers._base import Sampler as Sampler
    from clplat.parts.scorers._base import Scorer as Scorer
    from clplat.parts.teachers._base import TeacherPart as TeacherPart
    from clplat.parts.transforms._base import Transform as Transform
    from clplat.progress import Progress as Progress
    from clplat.randomness import generator as generator
    from clplat.retriever import ComposedRetriever as ComposedRetriever
    from clplat.training.learner import Learner as Learner
    from clplat.training.phases import Phase as Phase
    from clplat.training.strategy import Strategy as Strategy
    from clplat.training.strategy import SupportsLearning as SupportsLearning
    from clplat.training.streams import build_benchmark as build_benchmark

#: Module -> what it hands on. Imported one at a time: a strategy for a plain loop needs no backbone.
_FROM = {
    "clplat.config.space": ("Choice", "Float", "Int"),
    "clplat.data.batch": ("Batch",),
    "clplat.data.fingerprint": ("stream_fingerprint",),
    "clplat.data.decoding": ("open_picture",),
    "clplat.data.records": (
        "Candidate",
        "Domain",
        "Example",
        "Gallery",
        "Item",
        "Metric",
        "Pair",
        "Picture",
        "Protocol",
        "Query",
        "RetrievalSet",
        "Triplet",
    ),
    "clplat.data.scenario": ("Scenario",),
    "clplat.errors": ("UserError",),
    "clplat.evaluation.probes": ("ClassificationProbe", "RetrievalProbe"),
    "clplat.mechanisms.memory": ("Memory",),
    "clplat.mechanisms.parameter_groups": ("Group", "layer_decay"),
    "clplat.mechanisms.teacher": ("Teacher", "snapshot"),
    "clplat.models.backbone": ("Backbone",),
    "clplat.models.features": ("ImageFeatures", "TextFeatures"),
    "clplat.models.names": ("named_parameters",),
    "clplat.models.outputs": ("Outputs", "Rows", "cosines"),
    "clplat.models.prompt": ("TowerPrompt",),
    "clplat.models.readout": ("Readout", "install_readout"),
    "clplat.models.view": ("Towers",),
    "clplat.retriever": ("ComposedRetriever",),
    "clplat.parts.adapters._base": ("Adapter",),
    "clplat.parts.composers._base": ("Composer",),
    "clplat.parts.heads._base": ("Head", "View"),
    "clplat.parts.losses._base": ("Loss",),
    "clplat.parts.losses.info_nce": ("info_nce",),
    "clplat.mechanisms.relation": ("relation_kl",),
    "clplat.parts.probes._base": ("ModelView", "Probe", "Probes"),
    "clplat.parts.probes._contrasts": ("Contrast", "Contrasts"),
    "clplat.parts.projections._base": ("Projection",),
    "clplat.parts.projections._fitting": ("apply_matrix", "register_matrix"),
    "clplat.parts.prompts._base": ("Prompt",),
    "clplat.parts.postprocessors._base": ("PostProcessor", "Shortlist"),
    "clplat.parts.teachers._base": ("TeacherPart",),
    "clplat.parts.transforms._base": ("Transform",),
    "clplat.parts.scorers._base": ("Scorer",),
    "clplat.parts.references._base": ("Reference",),
    "clplat.parts.samplers._base": ("Sampler",),
    "clplat.progress": ("Progress",),
    "clplat.randomness": ("generator",),
    "clplat.training.learner": ("Learner",),
    "clplat.training.phases": ("Phase",),
    "clplat.training.strategy": ("Strategy", "SupportsLearning"),
    "clplat.training.streams": ("build_benchmark",),
}
_MODULES = {name: module for module, names in _FROM.items() for name in names}

__all__ = [*_MODULES]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'clplat.parts' has no attribute '{name}'")
    with named_extras(name):
        return getattr(importlib.import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted(_MODULES)
