# Written by `make check`; do not edit.

from clplat.parts.losses.cwcl import CWCL as CWCL
from clplat.parts.losses.energy_confusion import EnergyConfusion as EnergyConfusion
from clplat.parts.losses.identities import Identities as Identities
from clplat.parts.losses.info_nce import InfoNCE as InfoNCE
from clplat.parts.losses.margin_metric import MarginMetric as MarginMetric
from clplat.parts.losses.masked_words import MaskedWords as MaskedWords
from clplat.parts.losses.random_alignment import RandomAlignment as RandomAlignment
from clplat.parts.losses.sdm import SDM as SDM
from clplat.parts.losses.similarity_distillation import SimilarityDistillation as SimilarityDistillation
from clplat.parts.losses.typed_negatives import TypedNegatives as TypedNegatives
