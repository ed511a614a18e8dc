# Written by `make check`; do not edit.

from clplat.parts.composers.chosen_patches import ChosenPatches as ChosenPatches
from clplat.parts.composers.combiner import Combiner as Combiner
from clplat.parts.composers.domain_projections import DomainProjections as DomainProjections
from clplat.parts.composers.image_only import ImageOnly as ImageOnly
from clplat.parts.composers.key_value import KeyValue as KeyValue
from clplat.parts.composers.magic_lens import MagicLens as MagicLens
from clplat.parts.composers.pseudo_word import PseudoWord as PseudoWord
from clplat.parts.composers.slerp import Slerp as Slerp
from clplat.parts.composers.sum import Sum as Sum
from clplat.parts.composers.text_only import TextOnly as TextOnly
from clplat.parts.composers.x_pool import XPool as XPool
