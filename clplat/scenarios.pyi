# Written by `make check`; do not edit.

from scenarios.catalogue import Catalogue as Catalogue
from scenarios.domain_folders import DomainFolders as DomainFolders
from scenarios.triplets import Triplets as Triplets
