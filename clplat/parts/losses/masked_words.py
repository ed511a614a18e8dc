"""Masked words: what is missing in a text is told from the picture that answers it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from clplat.config.space import Float, Int
from clplat.parts.losses._base import Loss
from clplat.randomness import generator

if TYPE_CHECKING:
    from clplat.data.batch import Batch
    from clplat.models.outputs import Outputs
    from clplat.models.view import Towers
    from clplat.progress import Progress

__all__ = ["MaskedWords"]


class MaskedWords(Loss):
    """Implicit relation reasoning: cross-entropy of words that are masked in a query's text.

    Its words h, read by the text tower without those that are masked, ask the patches v of its target, both
    in the joint space; a small transformer and a classifier over the vocabulary follow::

        x = LN(blocks(attention(LN_h h, LN_v v, LN_v v)));  logits = W LN(GELU(A x))

    which is trained only: nothing of it is deployed. A word is masked with probability ``share``, one of each
    text at least: by a learnt vector (80 %), by a random word (10 %) or not at all (10 %). Queries without a
    text, and those whose target is no picture, are left out. It knows nothing of other candidates and belongs
    beside a loss that does, as in ``--loss sdm,masked_words``.

    Args:
        share: of words that are masked.
        depth: blocks of the transformer.
        seed: of what is masked; by default the experiment's.

    Raises:
        ValueError: a share outside (0, 1), or no block.

    References:
        Jiang & Ye 2023 (IRRA), Cross-Modal Implicit Relation Reasoning and Aligning for Text-to-Image Person
        Retrieval, arXiv 2303.12501.

    Needs:
        Standard towers, whose patches and words have a projection into the joint space; a pass of the text
        tower more.

    Example:
        >>> sorted(MaskedWords(depth=1).wants)
        ['candidate_tokens']
    """

    wants: ClassVar[frozenset[str]] = frozenset({"candidate_tokens"})
    soft = True
    compares = False

    def __init__(
        self,
        share: Annotated[float, Float(0.05, 0.5)] = 0.15,
        depth: Annotated[int, Int(1, 4)] = 4,
        seed: int | None = None,
    ) -> None:
        super().__init__()
        if not 0 < share < 1 or depth < 1:
            raise ValueError(f"share must be in (0, 1) and depth at least 1, not {share} and {depth}")
        self.share, self.depth, self.seed = share, depth, seed

    def attach(self, towers: Towers) -> None:
        """Make its layers.

        Raises:
            UserError: an opaque tower has no words, or no patches.
        """
        towers.need_tokens("masked_words")
        self._towers, width = towers, towers.joint
        heads = width // 64 if width >= 64 and width % (width // 64) == 0 else 1
        self.mask = nn.Parameter(torch.empty(towers.text_tokens).normal_(std=0.02))
        self.words, self.patches, self.last = (nn.LayerNorm(width) for _ in range(3))
        self.asks = nn.MultiheadAttention(width, heads, batch_first=True)
        options: dict[str, Any] = {"dropout": 0.0, "activation": "gelu", "batch_first": True}
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(width, heads, 4 * width, norm_first=True, **options)
            for _ in range(self.depth)
        )
        dense, names = nn.Linear(width, width), nn.Linear(width, towers.vocabulary)
        self.head = nn.Sequential(dense, nn.GELU(), nn.LayerNorm(width), names)
        nn.init.normal_(names.weight, std=width**-0.5 * (2 * self.depth) ** -0.5)

    def forward(self, outputs: Outputs, batch: Batch, progress: Progress) -> Tensor:
        patches, count = outputs["candidate_tokens"], len(batch)
        said, shown = batch.text_rows[:count], batch.picture_rows[count : 2 * count]
        rows = [i for i in range(count) if said[i] >= 0 and shown[i] >= 0]
        if not rows:
            return 0.0 * patches.sum()
        texts = batch.texts.part([said[i] for i in rows])
        length = max(texts.lengths)
        ids = texts.ids[:, :length].to(patches.device)
        masked, given, hidden = self.masked(ids, texts.said, progress)
        embeddings = torch.where(hidden[..., None], self.mask, self._towers.embed_text(given))
        ends = self._towers.text_ends(ids)
        found = self._towers.text_from_embeddings(embeddings, ends, {"tokens"})
        words = self._towers.joint_words(found.tokens)  # type: ignore[arg-type]
        logits = self.told(words, self._towers.joint_patches(patches[rows]), ends, masked)
        weights = batch.weights.to(patches.device, torch.float32)[rows][masked.nonzero()[:, 0]]
        costs = cross_entropy(logits, ids[masked], reduction="none")
        return (weights * costs).sum() / weights.sum().clamp(min=1e-12)

    def masked(self, ids: Tensor, said: list[str], progress: Progress) -> tuple[Tensor, Tensor, Tensor]:
        """Which words are told (B, L), the ids that the tower reads, and which of them are hidden from it.

        Args:
            ids: of texts (B, L); said: the texts, each with draws of its own, whatever else is in the batch.
            progress: where training stands.
        """
        place = (self.seed or 0, "masked words", progress.experience, progress.step)
        draws, others = [], []
        for text in said:
            draw = generator(*place, text)
            draws.append(torch.rand(ids.shape[1], generator=draw))
            others.append(torch.randint(1, self._towers.vocabulary - 2, ids.shape[1:], generator=draw))
        drawn, other = torch.stack(draws).to(ids.device), torch.stack(others).to(ids.device)
        at = torch.arange(ids.shape[1], device=ids.device)
        inside = (at > 0) & (at < self._towers.text_ends(ids)[:, None])
        chosen = (drawn < self.share) & inside
        alone = inside & (at == 1) & ~chosen.any(1, keepdim=True)
        hidden = (chosen & (drawn < 0.8 * self.share)) | alone
        swapped = chosen & ~hidden & (drawn < 0.9 * self.share)
        return chosen | alone, torch.where(swapped, other, ids), hidden

    def told(self, words: Tensor, patches: Tensor, ends: Tensor, masked: Tensor) -> Tensor:
        """Logits over the vocabulary (M, V) of the M masked words.

        Args:
            words, patches: (B, L, D) and (B, N, D), in the joint space; ends: place (B,) of the EOT.
            masked: (B, L) bool.
        """
        padding = torch.arange(words.shape[1], device=words.device) > ends[:, None]
        shown = self.patches(patches)
        x = self.asks(self.words(words), shown, shown, need_weights=False)[0]
        for block in self.blocks:
            x = block(x, src_key_padding_mask=padding)
        logits: Tensor = self.head(self.last(x)[masked])
        return logits
