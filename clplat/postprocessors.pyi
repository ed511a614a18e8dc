# Written by `make check`; do not edit.

from clplat.parts.postprocessors.crops import Crops as Crops
from clplat.parts.postprocessors.inverse_convolution import InverseConvolution as InverseConvolution
from clplat.parts.postprocessors.inverted_softmax import InvertedSoftmax as InvertedSoftmax
from clplat.parts.postprocessors.random_projection import RandomProjection as RandomProjection
from clplat.parts.postprocessors.standardised import Standardised as Standardised
