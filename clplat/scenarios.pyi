# Written by `make check`; do not edit.

from scenarios.catalogue import Catalogue as Catalogue
from scenarios.continual import Continual as Continual
from scenarios.domain_folders import DomainFolders as DomainFolders
