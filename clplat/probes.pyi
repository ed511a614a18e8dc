# Written by `make check`; do not edit.

from clplat.parts.probes.calibration import Calibration as Calibration
from clplat.parts.probes.experts import ExpertUse as ExpertUse
from clplat.parts.probes.few_shot import FewShot as FewShot
from clplat.parts.probes.geometry import Geometry as Geometry
from clplat.parts.probes.look import Look as Look
from clplat.parts.probes.negbench import NegBench as NegBench
from clplat.parts.probes.prompt_sets import PromptSets as PromptSets
from clplat.parts.probes.seen_classes import SeenClasses as SeenClasses
from clplat.parts.probes.sugarcrepe_pp import SugarCrepePP as SugarCrepePP
from scenarios.probes.catalogue import CatalogueProbes as CatalogueProbes
from scenarios.probes.choices import Choices as Choices
from scenarios.probes.compositions import Compositions as Compositions
from scenarios.probes.negation import Negation as Negation
from scenarios.probes.retrieval import Retrieval as Retrieval
from scenarios.probes.several_objects import SeveralObjects as SeveralObjects
