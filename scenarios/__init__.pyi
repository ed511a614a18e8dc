# Written by `make check`; do not edit.

from scenarios.attributes import Attributes as Attributes
from scenarios.catalogue import Catalogue as Catalogue
from scenarios.classification import Classification as Classification
from scenarios.continual import Continual as Continual
from scenarios.digits import Digits as Digits
from scenarios.domain_folders import DomainFolders as DomainFolders
from scenarios.probes.catalogue import CatalogueProbes as CatalogueProbes
from scenarios.probes.compositions import Compositions as Compositions
from scenarios.probes.negation import Negation as Negation
from scenarios.references.catalogue import CatalogueReference as CatalogueReference
