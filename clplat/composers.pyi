# Written by `make check`; do not edit.

from clplat.parts.composers.any_subset import AnySubset as AnySubset
from clplat.parts.composers.bridge_tower import BridgeTower as BridgeTower
from clplat.parts.composers.chosen_patches import ChosenPatches as ChosenPatches
from clplat.parts.composers.combiner import Combiner as Combiner
from clplat.parts.composers.complementary import Complementary as Complementary
from clplat.parts.composers.content_style import ContentStyle as ContentStyle
from clplat.parts.composers.cross_attention import CrossAttention as CrossAttention
from clplat.parts.composers.direction import Direction as Direction
from clplat.parts.composers.domain_projections import DomainProjections as DomainProjections
from clplat.parts.composers.edited import Edited as Edited
from clplat.parts.composers.gated import Gated as Gated
from clplat.parts.composers.guided import Guided as Guided
from clplat.parts.composers.image_only import ImageOnly as ImageOnly
from clplat.parts.composers.intersection import Intersection as Intersection
from clplat.parts.composers.key_value import KeyValue as KeyValue
from clplat.parts.composers.magic_lens import MagicLens as MagicLens
from clplat.parts.composers.pseudo_word import PseudoWord as PseudoWord
from clplat.parts.composers.rewritten import Rewritten as Rewritten
from clplat.parts.composers.set_pooling import SetPooling as SetPooling
from clplat.parts.composers.slerp import Slerp as Slerp
from clplat.parts.composers.sum import Sum as Sum
from clplat.parts.composers.text_only import TextOnly as TextOnly
from clplat.parts.composers.two_way import TwoWay as TwoWay
from clplat.parts.composers.whitened import Whitened as Whitened
from clplat.parts.composers.x_pool import XPool as XPool
