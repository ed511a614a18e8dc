# Written by `make check`; do not edit.

from clplat.parts.references.folder import Folder as Folder
