# Written by `make check`; do not edit.

from clplat.parts.postprocessors.approximated import Approximated as Approximated
from clplat.parts.postprocessors.branches import Branches as Branches
from clplat.parts.postprocessors.cache import Cache as Cache
from clplat.parts.postprocessors.components import Components as Components
from clplat.parts.postprocessors.crops import Crops as Crops
from clplat.parts.postprocessors.inverse_convolution import InverseConvolution as InverseConvolution
from clplat.parts.postprocessors.inverted_softmax import InvertedSoftmax as InvertedSoftmax
from clplat.parts.postprocessors.judged import Judged as Judged
from clplat.parts.postprocessors.learned import Learned as Learned
from clplat.parts.postprocessors.prototypes import Prototypes as Prototypes
from clplat.parts.postprocessors.quantised import Quantised as Quantised
from clplat.parts.postprocessors.random_projection import RandomProjection as RandomProjection
from clplat.parts.postprocessors.rescored import Rescored as Rescored
from clplat.parts.postprocessors.standardised import Standardised as Standardised
from clplat.parts.postprocessors.unanswerable import Unanswerable as Unanswerable
