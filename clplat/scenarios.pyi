# Written by `make check`; do not edit.

from scenarios.attributes import Attributes as Attributes
from scenarios.babel_imagenet import BabelImagenet as BabelImagenet
from scenarios.boxes import Boxes as Boxes
from scenarios.captioned import Captioned as Captioned
from scenarios.catalogue import Catalogue as Catalogue
from scenarios.circo import CIRCO as CIRCO
from scenarios.cirr import CIRR as CIRR
from scenarios.classification import Classification as Classification
from scenarios.continual import Continual as Continual
from scenarios.data_types import DataTypes as DataTypes
from scenarios.digits import Digits as Digits
from scenarios.domain_folders import DomainFolders as DomainFolders
from scenarios.fashion200k import Fashion200k as Fashion200k
from scenarios.fashioniq import FashionIQ as FashionIQ
from scenarios.genecis import GeneCIS as GeneCIS
from scenarios.lasco import LaSCo as LaSCo
from scenarios.metashift import Metashift as Metashift
from scenarios.mit_states import MITStates as MITStates
from scenarios.shoes import Shoes as Shoes
from scenarios.triplets import Triplets as Triplets
