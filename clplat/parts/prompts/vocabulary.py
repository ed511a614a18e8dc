"""Words of texts as learned rows of one table, which new texts put together anew: CSP."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar

import torch
from torch import Tensor, nn

from clplat.config.space import Float
from clplat.errors import UserError
from clplat.mechanisms.lexicon import ADJECTIVES, NOUNS
from clplat.mechanisms.prompt_sources import check_tower
from clplat.models.backbone import Backbone
from clplat.models.prompt import TowerPrompt
from clplat.parts.prompts._base import Prompt

__all__ = ["VocabularyPrompt"]


class VocabularyPrompt(Prompt):
    """CSP: attributes and objects are rows of a trained table, wherever a text has these words.

    The token embedding of a word of the table is replaced by its row, which starts from it; what is trained
    is the difference, and all other words stay. What was learnt of a word in some texts holds in every other
    one: combinations that no domain showed are put together from rows that some domain trained.

    `grow` freezes the rows of words that training has met: the strategy ``growing_prompt`` calls it for every
    domain, so that a domain trains the words that are new with it.

    Args:
        words: in the table; by default the attributes and objects of `clplat.mechanisms.lexicon`. A word of
            several tokens has a row for each.
        dropout: share of a row's numbers that are 0 in a training step, the others scaled up.

    Raises:
        ValueError: a dropout outside [0, 1).

    What is trained: a row of the text tower's width for each word. Needs: a causal text tower.

    References:
        Nayak et al. 2023, Learning to Compose Soft Prompts for Compositional Zero-Shot Learning, ICLR 2023,
        arXiv 2204.03574.

    Example:
        >>> from clplat.testing.tiny import tiny_backbone
        >>> backbone = tiny_backbone()
        >>> VocabularyPrompt(words=["red", "blue"]).attach(backbone)
        ['text_prompt.vectors']
        >>> backbone.text_prompt.vectors.shape
        torch.Size([2, 48])
    """

    identity_at_init: ClassVar[bool] = True

    def __init__(self, words: Sequence[str] = (), dropout: Annotated[float, Float(0.0, 0.5)] = 0.0) -> None:
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must be at least 0 and below 1, not {dropout}")
        self.words, self.dropout = list(words), dropout

    def attach(self, backbone: Backbone) -> list[str]:
        """Install the table as ``backbone.text_prompt``.

        Raises:
            UserError: the tower takes no prompt or has one.
        """
        check_tower(backbone, "text")
        device = backbone.logit_scale.device
        ids = backbone.tokenize(self.words or sorted(ADJECTIVES | NOUNS)).to(device)
        ends = backbone.text_ends(ids)
        places = torch.arange(ids.shape[1], device=device)
        inside = torch.unique(ids[(places > 0) & (places < ends[:, None])])
        if not len(inside):
            raise UserError("the words of the vocabulary have no tokens")
        starts = backbone.embed_text(inside[None], bare=True)[0].detach().clone()
        backbone.text_prompt = _Table(inside, starts, self.dropout).to(backbone.logit_scale)
        return ["text_prompt.vectors"]


class _Table(TowerPrompt):
    """Rows by token id: where they stood before this domain, and what is trained on top of that.

    A row that no text has keeps a change of exactly 0, whatever the optimizer's weight decay.
    """

    length = 0
    ids: Tensor
    frozen: Tensor
    kept: Tensor

    def __init__(self, ids: Tensor, starts: Tensor, dropout: float) -> None:
        super().__init__()
        self.vectors, self.dropout = nn.Parameter(torch.zeros_like(starts)), nn.Dropout(dropout)
        self.register_buffer("ids", ids)  # sorted
        self.register_buffer("frozen", torch.zeros(len(ids), dtype=torch.bool))
        self.register_buffer("kept", starts)

    def forward(self, layer: int) -> Tensor | None:
        return None

    def embed(self, input_ids: Tensor, embeddings: Tensor) -> Tensor:
        places = torch.searchsorted(self.ids, input_ids.contiguous()).clamp(max=len(self.ids) - 1)
        found = self.ids[places] == input_ids
        rows: Tensor = self.dropout(self.kept + self.vectors.masked_fill(self.frozen[:, None], 0.0))
        return torch.where(found[..., None], rows[places].to(embeddings.dtype), embeddings)

    @torch.no_grad()
    def grow(self) -> bool:
        """Freeze the rows of words that were trained."""
        self.frozen |= self.vectors.ne(0).any(1)
        self.kept += self.vectors
        self.vectors.zero_()
        return True
