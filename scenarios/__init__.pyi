# Written by `make check`; do not edit.

from scenarios.catalogue import Catalogue as Catalogue
from scenarios.classification import Classification as Classification
from scenarios.continual import Continual as Continual
from scenarios.digits import Digits as Digits
from scenarios.domain_folders import DomainFolders as DomainFolders
from scenarios.fashion200k import Fashion200k as Fashion200k
from scenarios.fashioniq import FashionIQ as FashionIQ
from scenarios.lasco import LaSCo as LaSCo
from scenarios.mit_states import MITStates as MITStates
from scenarios.probes.catalogue import CatalogueProbes as CatalogueProbes
from scenarios.probes.compositions import Compositions as Compositions
from scenarios.probes.negation import Negation as Negation
from scenarios.references.catalogue import CatalogueReference as CatalogueReference
from scenarios.shoes import Shoes as Shoes
from scenarios.triplets import Triplets as Triplets
