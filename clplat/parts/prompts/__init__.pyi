# Written by `make check`; do not edit.

from clplat.parts.prompts.adaptive_tokens import AdaptiveTokens as AdaptiveTokens
from clplat.parts.prompts.coda import CodaPrompt as CodaPrompt
from clplat.parts.prompts.conditioned import ConditionedPrompt as ConditionedPrompt
from clplat.parts.prompts.context import ContextPrompt as ContextPrompt
from clplat.parts.prompts.deep import DeepPrompt as DeepPrompt
from clplat.parts.prompts.domain_cues import DomainCuesPrompt as DomainCuesPrompt
from clplat.parts.prompts.pool import PoolPrompt as PoolPrompt
from clplat.parts.prompts.token_memory import TokenMemory as TokenMemory
from clplat.parts.prompts.vocabulary import VocabularyPrompt as VocabularyPrompt
