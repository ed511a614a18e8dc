# Written by `make check`; do not edit.

from clplat.parts.samplers.by_domain import ByDomain as ByDomain
from clplat.parts.samplers.clusters import Clusters as Clusters
from clplat.parts.samplers.neighbours import Neighbours as Neighbours
from clplat.parts.samplers.shards import Shards as Shards
from clplat.parts.samplers.shuffled import Shuffled as Shuffled
