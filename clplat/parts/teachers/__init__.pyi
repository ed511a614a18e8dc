# Written by `make check`; do not edit.

from clplat.parts.teachers.average import Average as Average
from clplat.parts.teachers.backbone import OtherBackbone as OtherBackbone
from clplat.parts.teachers.compatible import Compatible as Compatible
from clplat.parts.teachers.ensemble import Ensemble as Ensemble
from clplat.parts.teachers.initial import Initial as Initial
from clplat.parts.teachers.kept_features import KeptFeatures as KeptFeatures
from clplat.parts.teachers.momentum import Momentum as Momentum
from clplat.parts.teachers.previous import Previous as Previous
from clplat.parts.teachers.sentences import Sentences as Sentences
from clplat.parts.teachers.stored import Stored as Stored
