# Written by `make check`; do not edit.

from clplat.parts.postprocessors.crops import Crops as Crops
