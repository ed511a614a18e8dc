"""A small lexicon of English captions: what most of their words are, and what excludes what.

It knows what is common in captions of pictures and takes any other word for a noun: enough to swap and to
replace words, and no tagger.
"""

from __future__ import annotations

__all__ = ["ADJECTIVES", "ADVERBS", "CONTRASTS", "FUNCTION", "NOUNS", "VERBS"]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


#: Words that are neither swapped nor replaced.
FUNCTION = _words(
    "a an the this that these those some any no every each all both its it their his her my your our he "
    "she they i you we who whom whose which what and or but nor of in on at by with without from to into "
    "onto for over under above below behind beside between near around through across along against off "
    "up down out about as than like while when where there here is are was were be been being am has have "
    "had do does did can could may might will would shall should must not one two three four five six "
    "seven eight nine ten other another such same if then so rather instead place front next s t"
)
#: Values that exclude each other: one in place of another makes a caption wrong.
_ADJECTIVES = (
    "red orange yellow green blue purple pink black white brown gray",
    "plain striped dotted checked floral",
    "short long",
    "small large",
    "slim wide",
    "low high",
    "flat heeled",
    "round square",
    "young old",
    "wooden metal plastic leather stone",
    "open closed",
    "full empty",
    "wet dry",
    "hot cold",
    "bright dark",
    "left right",
)
_NOUNS = (
    "dress top shoe bag coat skirt hat scarf glove sock",
    "belt collar bow pocket zip buckle tassel hood",
    "buttons pockets laces studs cuffs lapels",
    "handle sleeve strap heel sole",
    "dog cat horse cow sheep bird elephant giraffe zebra bear rabbit",
    "dogs cats horses cows birds elephants giraffes zebras bears rabbits",
    "car bus truck train bicycle motorcycle boat airplane",
    "chair table bed bench desk shelf lamp",
    "apple banana pizza cake sandwich carrot bread",
    "man woman boy girl",
    "men women boys girls",
    "kitchen bathroom bedroom street field beach forest mountain",
    "ball frisbee kite skateboard surfboard umbrella",
    "cup plate bowl bottle fork knife spoon",
)
_VERBS = (
    "sitting standing lying running walking jumping flying swimming",
    "sits stands lies runs walks jumps flies swims",
    "holding throwing pushing eating drinking washing",
    "holds throws pushes eats drinks washes",
)
_MORE_ADJECTIVES = (
    "hooded big tiny huge little tall medium sized thin thick sleeveless collarless solid colored grey "
    "plaid pretty beautiful new clean dirty shiny soft hard heavy light happy sad busy quiet modern "
    "narrow grassy sandy snowy sunny cloudy rocky dusty lush bare blond curly furry fluffy silly friendly "
    "lonely lovely ugly nice good bad great smaller larger bigger longer shorter wider slimmer taller "
    "higher lower deep shallow"
)

CONTRASTS: dict[str, tuple[frozenset[str], ...]] = {
    "adjective": tuple(map(_words, _ADJECTIVES)),
    "noun": tuple(map(_words, _NOUNS)),
    "verb": tuple(map(_words, _VERBS)),
}
ADJECTIVES = _words(" ".join(_ADJECTIVES)) | _words(_MORE_ADJECTIVES)
ADVERBS = _words("very quite almost slightly much together away outside inside again also often always never")
VERBS = _words(" ".join(_VERBS)) | _words(
    "sit stand lie run walk jump fly swim hold eat look play ride wear looking playing riding wearing "
    "taking making hanging parked filled covered made looks plays rides wears takes makes hangs shows "
    "showing carrying carries watching watches reading reads waiting waits crossing crosses leaning leans "
    "resting rests driving drives painting paints talking talks smiling smiles comes"
)
NOUNS = _words(" ".join(_NOUNS))
