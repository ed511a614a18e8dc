# Written by `make check`; do not edit.

from clplat.parts.references.folder import Folder as Folder
from scenarios.references.catalogue import CatalogueReference as CatalogueReference
