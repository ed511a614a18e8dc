"""A pool of prompts with keys: each picture takes those whose keys its frozen feature is nearest to."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from clplat.config.space import Choice, Float, Int
from clplat.errors import UserError
from clplat.models.backbone import Backbone
from clplat.parts.prompts._base import Prompt
from clplat.parts.prompts._chosen_texts import ChosenTexts
from clplat.parts.prompts._pool import Pool
from clplat.parts.prompts.context import check_room

__all__ = ["PoolPrompt"]


class PoolPrompt(Prompt):
    """Prompts of the image tower, of which each picture gets the ``top`` nearest by their keys.

        pull = -mean_x sum_{m chosen for x} cos(q(x), k_m)

    is added to the loss with a weight of ``pull``: it draws the chosen keys to the pictures. The query q is
    the pooled feature of the tower without the prompt; a picture's prompts depend on the picture alone.

    `clplat.models.prompt.TowerPrompt.grow` freezes the pool and adds as many again; the strategy
    ``growing_prompt`` calls it for every domain. In training a pool that has grown uses its newest prompts
    alone: whose domain a training picture is, is known. Keys of a domain start at k-means centres of its
    frozen features, where pulling them ends; without ``growing_prompt`` they are drawn.

    Args:
        size: prompts, of each growth.
        top: prompts that a picture gets, N.
        length: vectors of each prompt; of prefixes, keys, and as many values.
        form: ``tokens`` go through the tower beside those of the picture, a ``prefix`` into attention alone.
        first: the first layer with prompts, 0 the lowest.
        depth: layers with prompts of their own; of tokens, those after go on with what became of them.
        general: the lowest layers that get a prefix which all pictures share and every domain trains on.
        keys: learnt and pulled (``trained``), or k-means centres of each domain's frozen features
            (``centroids``), of which the nearest by the Manhattan distance decides.
        centres: of each prompt that goes by centroids.
        words: vectors of a prompt of the text tower beside each, which goes with the picture that a text
            modifies; 0: pictures alone are prompted. Texts alone go by centroids of texts.
        pull: weight of the pull, for trained keys.
        scale: vectors are drawn evenly between its negative and itself; few steps turn small ones alone.
        inherit: vectors of a growth start as those of the one before; otherwise they are drawn.
        shared: tokens beside those of its own that every picture has, of which the layers with prompts have
            some each and every domain trains on.
        clock: weight of the stream's position in the query, which is then ``[q / |q|, clock u(t)]``: u(t) is
            the unit code (cos, sin) of the position t in ``hands`` frequencies, and keys have as many numbers
            more. A picture is asked for at the position where the model stands. 0: the query is the picture.
        hands: frequencies of the code, from 1 down to ``1 / 10000``.
        grows: every growth adds prompts; otherwise all domains share the first ones, nothing is frozen and a
            growth moves the position alone.

    Raises:
        ValueError: a size below 1, more prompts for a picture than there are, no pull for trained keys, no
            scale; a clock beside centroids; shared tokens beside prefixes.

    What is trained: ``size * depth * length * width`` numbers, twice that for prefixes; the keys, ``size *
    (joint width + 2 * hands)`` (hands where there is a clock); ``2 * general * length * width``; and ``depth
    * shared * width``.

    Reference:
        Wang et al., "Learning to Prompt for Continual Learning" (L2P), CVPR 2022, arXiv:2112.08654, and
        "DualPrompt", ECCV 2022, arXiv:2204.04799; Wang et al., "S-Prompts Learning with Pre-trained
        Transformers", NeurIPS 2022, arXiv:2207.12819; Xue et al., "Prompt-augmented Temporal Point Process
        for Streaming Event Sequence" (the clock), NeurIPS 2023, arXiv:2310.04993; Wang et al., "SYNC-CLIP"
        (shared tokens), 2023, arXiv:2312.03805.

    Example:
        >>> from clplat.testing.tiny import tiny_backbone
        >>> PoolPrompt(size=3, top=2).attach(tiny_backbone())
        ['image_prompt.grown.0.vectors', 'image_prompt.grown.0.keys']
    """

    #: Every picture gets all of them.
    plain: ClassVar[dict[str, Any]] = {"size": "top"}

    def __init__(
        self,
        size: Annotated[int, Int(1, 20, log=True)] = 10,
        top: Annotated[int, Int(1, 5)] = 2,
        length: Annotated[int, Int(1, 10)] = 2,
        form: Annotated[Literal["tokens", "prefix"], Choice("tokens", "prefix")] = "tokens",
        first: int = 0,
        depth: int = 1,
        general: int = 0,
        keys: Literal["trained", "centroids"] = "trained",
        centres: int = 5,
        words: int = 0,
        pull: Annotated[float, Float(0.01, 1.0, log=True)] = 0.1,
        scale: Annotated[float, Float(0.003, 1.0, log=True)] = 0.03,
        inherit: bool = False,
        shared: int = 0,
        clock: Annotated[float, Float(0.0, 2.0)] = 0.0,
        hands: int = 8,
        grows: bool = True,
    ) -> None:
        if min(size, top, length, depth, centres, hands) < 1 or min(first, general, words, shared) < 0:
            raise ValueError(
                "size, top, length, depth, centres and hands are at least 1; first, general, words, shared 0"
            )
        if top > size:
            raise ValueError(f"a picture cannot get {top} of {size} prompts")
        if form not in ("tokens", "prefix") or keys not in ("trained", "centroids"):
            raise ValueError(f"form is tokens or prefix, keys trained or centroids, not {form} and {keys}")
        if form == "tokens" and first:
            raise ValueError("tokens enter at the lowest layer: first is 0 for them")
        if words and keys != "centroids":
            raise ValueError("prompts of texts go with centroids: no key of theirs is trained")
        if not clock >= 0 or (clock and keys == "centroids"):
            raise ValueError(f"clock must be at least 0, and needs trained keys, not {clock} with {keys}")
        if shared and form == "prefix":
            raise ValueError("a prefix that all pictures share is 'general': shared are tokens")
        if not pull > 0:
            raise ValueError(f"pull must be above 0, or keys stay where they were drawn, not {pull}")
        if not scale > 0:
            raise ValueError(f"scale must be above 0, not {scale}")
        self.size, self.top, self.length, self.form = size, top, length, form
        self.first, self.depth, self.general = first, depth, general
        self.keys, self.centres, self.words, self.pull = keys, centres, words, pull
        self.scale, self.inherit, self.shared = scale, inherit, shared
        self.clock, self.hands, self.grows = clock, hands, grows

    @property
    def routes(self) -> bool:
        """With prompts of its own for each domain, which ones a picture takes can be right or wrong."""
        return self.grows

    def attach(self, backbone: Backbone) -> list[str]:
        """Install the first prompts; they are drawn from torch's generator.

        Raises:
            UserError: the tower takes no prompt or has one, or it has no such layers.
        """
        if backbone.image_prompt is not None:
            raise UserError("a prompt of the image tower is attached already")
        if backbone.image_layers is None or backbone.image_width is None:
            raise UserError(f"the image tower of backbone '{backbone.name}' takes no prompt")
        if self.first >= backbone.image_layers:
            raise UserError(f"first is {self.first}, but the image tower has {backbone.image_layers} layers")
        depth = min(self.depth, backbone.image_layers - self.first)
        pool = Pool(self, depth, backbone.image_width, backbone.embed_dim)
        if self.words:
            check_room(backbone, self.top * self.words)
            backbone.text_prompt = self._texts(backbone, pool)
        pool.grow()
        backbone.image_prompt = pool.to(backbone.logit_scale)
        found = {"image": backbone.image_prompt, "text": backbone.text_prompt if self.words else None}
        return [f"{t}_prompt.{n}" for t, part in found.items() if part for n, _ in part.named_parameters()]

    def _texts(self, backbone: Backbone, pool: Pool) -> ChosenTexts:
        """The prompts of the text tower beside a pool."""
        sizes = {"size": self.size, "top": self.top, "words": self.words, "centres": self.centres}
        wide = {"width": backbone.text_width, "joint": backbone.embed_dim}
        found = ChosenTexts(pool.scores, **sizes, **wide)
        found.grow()
        return found.to(backbone.logit_scale)
