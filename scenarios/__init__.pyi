# Written by `make check`; do not edit.

from scenarios.attributes import Attributes as Attributes
from scenarios.babel_imagenet import BabelImagenet as BabelImagenet
from scenarios.boxes import Boxes as Boxes
from scenarios.captioned import Captioned as Captioned
from scenarios.catalogue import Catalogue as Catalogue
from scenarios.classification import Classification as Classification
from scenarios.continual import Continual as Continual
from scenarios.data_types import DataTypes as DataTypes
from scenarios.digits import Digits as Digits
from scenarios.domain_folders import DomainFolders as DomainFolders
from scenarios.fashion200k import Fashion200k as Fashion200k
from scenarios.fashioniq import FashionIQ as FashionIQ
from scenarios.lasco import LaSCo as LaSCo
from scenarios.metashift import Metashift as Metashift
from scenarios.mit_states import MITStates as MITStates
from scenarios.probes.catalogue import CatalogueProbes as CatalogueProbes
from scenarios.probes.choices import Choices as Choices
from scenarios.probes.compositions import Compositions as Compositions
from scenarios.probes.negation import Negation as Negation
from scenarios.probes.retrieval import Retrieval as Retrieval
from scenarios.probes.several_objects import SeveralObjects as SeveralObjects
from scenarios.references.catalogue import CatalogueReference as CatalogueReference
from scenarios.shoes import Shoes as Shoes
from scenarios.triplets import Triplets as Triplets
