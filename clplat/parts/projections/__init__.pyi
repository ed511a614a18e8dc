# Written by `make check`; do not edit.

from clplat.parts.projections.drift import Drift as Drift
from clplat.parts.projections.identity import Identity as Identity
from clplat.parts.projections.linear import Linear as Linear
from clplat.parts.projections.procrustes import Procrustes as Procrustes
from clplat.parts.projections.ridge import Ridge as Ridge
from clplat.parts.projections.side_network import SideNetwork as SideNetwork
