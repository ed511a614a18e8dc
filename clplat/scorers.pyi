# Written by `make check`; do not edit.

from clplat.parts.scorers.aspects import Aspects as Aspects
from clplat.parts.scorers.attended import Attended as Attended
from clplat.parts.scorers.conditional import Conditional as Conditional
from clplat.parts.scorers.distributions import Distributions as Distributions
from clplat.parts.scorers.dot import Dot as Dot
from clplat.parts.scorers.filip import Filip as Filip
from clplat.parts.scorers.modalities import Modalities as Modalities
from clplat.parts.scorers.sampled import Sampled as Sampled
from clplat.parts.scorers.shared_queries import SharedQueries as SharedQueries
