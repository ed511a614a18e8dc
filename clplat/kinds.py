"""The kinds of parts of an experiment: one table, read by registry, configuration, CLI, docs and tests.

A new kind is one row here, a folder of that name with its contract in ``_base.py``, and the line that
uses it, ``config.make(slot)`` in `clplat.runs.assembly`. Options, help, labels, names of folders, stubs,
contract tests and docs (``make index``, ``make kinds``) follow from the row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from clplat.errors import unknown_name

__all__ = ["INSIDE", "KINDS", "Kind", "every_kind", "kind_named"]


@dataclass(frozen=True)
class Kind:
    """One kind of part.

    Attributes:
        slot: its place in a configuration, and its option: ``composer`` for ``--composer sum``.
        plural: its folder, its entry-point group ``clplat.<plural>`` and the word of ``clplat list``; empty
            for the one kind that is not scanned (backbones are open_clip's models).
        default: the part that fills the slot unless another is named.
        contract: class that every part of the kind extends, ``module:Class``; empty where any class with
            the right methods will do.
        methods: those methods.
        protocol: what annotations call such a class, ``module:Class``, so that a part may hold one.
        maker: what makes any part of the kind by its name, ``module:function``, where none is scanned.
        tests: class of `clplat.testing` that checks a part; empty for a kind without contract tests.
        optional: ``none`` leaves the slot empty.
        many: what makes one part of several, ``module:Class``, whose first argument takes their list: the
            slot takes names separated by commas. Empty where it takes one part.
        label: where its part stands in the labels of runs, before or after the strategy, unless it is the
            default; None: in no label.
        always: written into every configuration. A slot that release 0.1.0 did not know is written only where
            it is not at its default, so that older runs keep their identity: folders, fingerprints, MLflow.
    """

    slot: str
    plural: str
    default: str
    contract: str = ""
    methods: tuple[str, ...] = ()
    protocol: str = ""
    maker: str = ""
    tests: str = ""
    optional: bool = False
    many: str = ""
    label: Literal["before", "after"] | None = "after"
    always: bool = False


KINDS: dict[str, Kind] = {
    kind.slot: kind
    for kind in (
        Kind(
            "scenario",
            "scenarios",
            "catalogue",
            methods=("benchmark", "fingerprint"),
            protocol="clplat.data.scenario:Scenario",
            tests="ScenarioContract",
            label=None,
            always=True,
        ),
        Kind(
            "backbone",
            "",
            "clplat-tiny",
            maker="clplat.models.backbone:Backbone.load",
            label=None,
            always=True,
        ),
        Kind(
            "adapter",
            "adapters",
            "full",
            contract="clplat.parts.adapters._base:Adapter",
            tests="AdapterContract",
            optional=True,
            label="before",
            always=True,
        ),
        Kind(
            "prompt",
            "prompts",
            "none",
            contract="clplat.parts.prompts._base:Prompt",
            many="clplat.parts.prompts._combined:CombinedPrompt",
            tests="PromptContract",
            optional=True,
            label="before",
            always=True,
        ),
        Kind(
            "composer",
            "composers",
            "sum",
            contract="clplat.parts.composers._base:Composer",
            tests="ComposerContract",
            label=None,
            always=True,
        ),
        Kind(
            "head",
            "heads",
            "none",
            contract="clplat.parts.heads._base:Head",
            tests="HeadContract",
            optional=True,
        ),
        Kind(
            "scorer",
            "scorers",
            "dot",
            contract="clplat.parts.scorers._base:Scorer",
            protocol="clplat.models.scoring:Scores",
            tests="ScorerContract",
        ),
        Kind(
            "projection",
            "projections",
            "identity",
            contract="clplat.parts.projections._base:Projection",
            tests="ProjectionContract",
            always=True,
        ),
        Kind(
            "transform",
            "transforms",
            "none",
            contract="clplat.parts.transforms._base:Transform",
            tests="TransformContract",
            optional=True,
            many="clplat.parts.transforms._base:Several",
        ),
        Kind(
            "sampler",
            "samplers",
            "by_domain",
            contract="clplat.parts.samplers._base:Sampler",
            tests="SamplerContract",
        ),
        Kind(
            "reference",
            "references",
            "none",
            contract="clplat.parts.references._base:Reference",
            tests="ReferenceContract",
            optional=True,
        ),
        Kind(
            "loss",
            "losses",
            "info_nce",
            contract="clplat.parts.losses._base:Loss",
            many="clplat.parts.losses._combined:WeightedSum",
            tests="LossContract",
            optional=True,
            label=None,
            always=True,
        ),
        Kind(
            "strategy",
            "strategies",
            "naive",
            contract="clplat.training.strategy:Strategy",
            many="clplat.training.combined:Combined",
            tests="StrategyContract",
            always=True,
        ),
        Kind(
            "postprocessor",
            "postprocessors",
            "none",
            contract="clplat.parts.postprocessors._base:PostProcessor",
            tests="PostProcessorContract",
            optional=True,
        ),
        Kind(
            "probes",
            "probes",
            "catalogue",
            contract="clplat.parts.probes._base:Probes",
            many="clplat.parts.probes._combined:CombinedProbes",
            tests="ProbesContract",
            optional=True,
            label=None,
            always=True,
        ),
    )
}


#: Kinds that stand inside other parts alone: an argument that takes one is their only slot.
INSIDE: dict[str, Kind] = {
    kind.slot: kind
    for kind in (
        Kind(
            "teacher",
            "teachers",
            "previous",
            contract="clplat.parts.teachers._base:TeacherPart",
            tests="TeacherContract",
        ),
    )
}


def every_kind() -> list[Kind]:
    """Those of the experiment's slots, and those inside other parts."""
    return [*KINDS.values(), *INSIDE.values()]


def kind_named(plural: str) -> Kind:
    """The kind whose folder is called ``plural``.

    Raises:
        UserError: there is none; the nearest one is offered.

    Example:
        >>> kind_named("losses").slot
        'loss'
    """
    found = {kind.plural: kind for kind in every_kind() if kind.plural}
    if plural not in found:
        raise unknown_name("kind of part", plural, found)
    return found[plural]
