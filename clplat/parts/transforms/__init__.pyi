# Written by `make check`; do not edit.

from clplat.parts.transforms.captioned import Captioned as Captioned
from clplat.parts.transforms.captions import Captions as Captions
from clplat.parts.transforms.captions_beside import CaptionsBeside as CaptionsBeside
from clplat.parts.transforms.phrasings import Phrasings as Phrasings
from clplat.parts.transforms.reference_negative import ReferenceNegative as ReferenceNegative
from clplat.parts.transforms.rewritten_target import RewrittenTarget as RewrittenTarget
from clplat.parts.transforms.swapped_words import SwappedWords as SwappedWords
from clplat.parts.transforms.turned import Turned as Turned
from clplat.parts.transforms.wrong_words import WrongWords as WrongWords
