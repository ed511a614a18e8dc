# Written by `make check`; do not edit.

from clplat.parts.heads.bebr import Bebr as Bebr
from clplat.parts.heads.matryoshka import Matryoshka as Matryoshka
