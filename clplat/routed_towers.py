"""The towers as a retriever uses them: kept where they are frozen, autocast, each picture by its adapter."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from clplat.data.inputs import Images, Texts
from clplat.mechanisms.merged_experts import changes_of, merged, mixes_of
from clplat.mechanisms.routing import Experts
from clplat.models.backbone import Backbone
from clplat.models.features import NOTHING, POOLED, TOKENS, ImageFeatures, TextFeatures, Wants, in_float
from clplat.models.source import FeatureSource, LiveTowers
from clplat.models.view import Towers

__all__ = ["RoutedTowers"]


class RoutedTowers(nn.Module):
    """Features of pictures and texts, by the towers or from what is kept of them.

    Args:
        backbone: the towers, with adapters and prompts inside.

    Attributes:
        towers: the view of them that parts are attached to.
        image_wants, text_wants: what queries read of each input; target_wants: what items read of a picture.
        learns_from: what a training step reads beyond that, by side (`Composer.learns_from`).
        asked: parts of the outputs of a training step beyond the usual ones, as its loss wants them.
        experts: adapters or prompts of which a router chooses some for each picture, in evaluation mode.
        cache: keeps what is frozen; None: everything is computed.
        precision: what the towers compute in; features are float32 whatever it is.
    """

    image_wants: frozenset[str]
    text_wants: frozenset[str]
    target_wants: frozenset[str]
    learns_from: Mapping[str, frozenset[str]]

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.towers = Towers(backbone, self._cast)
        self.experts: Experts | None = None
        self.asked: frozenset[str] = frozenset()
        self.cache: FeatureSource | None = None
        self.precision: torch.dtype | None = None
        self._live = LiveTowers(backbone)
        self.backbone = backbone

    def image_features(self, images: Images | Tensor, wants: Wants = POOLED) -> ImageFeatures:
        """The backbone's features of pictures, as they are or (B, 3, S, S); kept where they are frozen."""
        images = images if isinstance(images, Images) else Images.of(images)
        with self._cast():
            return in_float((self.cache or self._live).image(images, wants))

    def text_features(
        self, texts: Texts | Tensor, wants: Wants = POOLED, *, other: ImageFeatures | None = None
    ) -> TextFeatures:
        """The backbone's features of texts, or of their ids (B, L); kept where they are frozen.

        Args:
            other: features of the picture that each text modifies, for a prompt that reads them.
        """
        texts = texts if isinstance(texts, Texts) else Texts(texts)
        with self._cast():
            return in_float((self.cache or self._live).text(texts, wants, other=other))

    def prepare(self, images: Images | Tensor, texts: Texts | Tensor) -> None:
        """Compute, all at once, the frozen features of inputs that will be used in any order."""
        self._bare()  # the router looks at everything through the bare base
        if self.cache is not None:
            images = images if isinstance(images, Images) else Images.of(images)
            texts = texts if isinstance(texts, Texts) else Texts(texts)
            with self._cast():
                asked, said, held = (self.wants_of(one, self.training) for one in ("image", "text", "answer"))
                self.cache.prepare(images, texts, asked | held, said, again=self.training)

    @property
    def reads_pixels(self) -> bool:
        """Whether a training step needs pixels now, because no kept features replace them."""
        asked = {self.wants_of("image", training=True), self.wants_of("answer", training=True)}
        return self.cache is None or any(self.cache.live_images(wants) for wants in asked)

    def wants_of(self, side: Literal["image", "text", "answer"], training: bool) -> frozenset[str]:
        """What is read of the picture or the text of a query, or of the picture of an answer."""
        wants = {"image": self.image_wants, "text": self.text_wants, "answer": self.target_wants}[side]
        if not training:
            return wants
        tokens = TOKENS if side == "answer" and "candidate_tokens" in self.asked else NOTHING
        return wants | tokens | self.learns_from.get(side, NOTHING)

    def _given(self, images: Images, found: ImageFeatures, count: int) -> ImageFeatures | None:
        """What the text tower's prompt reads of the picture that a text modifies: it without a prompt.

        Args:
            images: of which texts modify the first ``count``.
            found: their features as they were computed.
        """
        prompt = self.backbone.text_prompt
        if prompt is None or not prompt.reads_other:
            return None
        rows = range(count)
        known = all(vars(found).get(name) is not None for name in prompt.other_wants)
        if self.backbone.image_prompt is None and known:
            return found.part(rows)
        with self._cast():
            source = self.cache or self._live
            return in_float(source.image(images.part(rows), prompt.other_wants, bare=True))

    def raw_images(self, images: Images | Tensor) -> Tensor:
        """What the image tower gives (B, D), before head and normalisation."""
        images = images if isinstance(images, Images) else Images.of(images)
        return self._routed(images, lambda _, part: self.image_features(part).pooled)

    def raw_texts(self, texts: Texts | Tensor) -> Tensor:
        """What the text tower gives (B, D), before head and normalisation; routed as `encode_texts`."""
        return self._routed_texts(lambda: self.text_features(texts).pooled)

    @property
    def _device(self) -> torch.device:
        return self.backbone.logit_scale.device

    def _cast(self) -> torch.autocast:
        kind, dtype = self._device.type, self.precision
        return torch.autocast(kind, dtype or torch.get_autocast_dtype(kind), enabled=dtype is not None)

    def shares(self, images: Images | Tensor) -> tuple[Tensor, Sequence[int]] | None:
        """How much each expert has in pictures (B, N), and the experience that each was trained in.

        Rows sum to 1, or to 0 for a picture that goes through the bare base. None without experts. What is
        routed goes by the features of pictures alone.
        """
        prompt = self.backbone.image_prompt
        if self._routes and self.experts is not None and not self.experts.by_words:
            return self.experts.router.weights(self.look(images).pooled), self.experts.router.owners
        return prompt.shares(self.look(images)) if prompt is not None else None

    def look_at_texts(self, texts: Texts) -> TextFeatures:
        """The same of texts."""
        if self.experts is not None:
            self.experts.activate(self.backbone, None)
        with self._cast():
            return in_float((self.cache or self._live).text(texts, POOLED, bare=True))

    def look(self, images: Images | Tensor) -> ImageFeatures:
        """The pooled features of pictures under the bare base, without prompt: all that a router sees."""
        images = images if isinstance(images, Images) else Images.of(images)
        if self.experts is not None:
            self.experts.activate(self.backbone, None)
        with self._cast():
            return in_float((self.cache or self._live).image(images, POOLED, bare=True))

    def word_shares(self, texts: Texts | Tensor) -> tuple[Tensor, Sequence[int]] | None:
        """As `shares`, of what is asked in words, by experts that go by that; None without such experts."""
        if self.experts is None or not self.experts.by_words or not self._routes:
            return None
        self.experts.activate(self.backbone, None)
        router = self.experts.router
        return router.weights(self.text_features(texts).pooled), router.owners

    @property
    def _routes(self) -> bool:
        return self.experts is not None and bool(self.experts.router.names)

    def _side_by_side(self, encode: Callable[[], Tensor], words: Texts | None) -> Tensor:
        """What each expert makes of inputs, (..., B, N * D), unit rows by its share in their words.

        The inner product with an item's rows is ``sum_e w_e cos_e`` up to a factor of the query's own.
        """
        assert self.experts is not None
        names = self.experts.router.names
        found = self.word_shares(words) if words is not None else None
        shares = found[0] if found is not None else torch.ones(1, len(names), device=self._device)
        parts = []
        for name, share in zip(names, normalize(shares, dim=1).T, strict=True):
            self.experts.activate(self.backbone, name)
            parts.append(share[:, None] * encode())
        return torch.cat(parts, dim=-1)

    def _routed_texts(self, encode: Callable[[], Tensor]) -> Tensor:
        """Encode texts that stand alone: by the bare base, or by all experts that go by words."""
        self._bare()
        if self.training or self.experts is None or not self.experts.by_words or not self._routes:
            return encode()
        return self._side_by_side(encode, None)

    def _bare(self) -> None:
        """In evaluation mode, back to the bare base: what says nothing about its domain goes through that."""
        if self.experts is not None and not self.training:
            self.experts.activate(self.backbone, None)

    def _routed(
        self,
        images: Images,
        encode: Callable[[Sequence[int], Images], Tensor],
        finish: Callable[[Tensor], Tensor] = lambda rows: rows,
        words: Texts | None = None,
    ) -> Tensor:
        """Encode all pictures, each with the experts that the router chooses for it.

        Where several have a share in a picture, their unit embeddings are averaged by these, and then
        finished; where experts are merged, their weights are. ``words``: what is asked with each picture, for
        experts that go by that.
        """
        if self.training or self.experts is None or not self._routes:
            return finish(encode(range(len(images)), images))
        if self.experts.by_words:
            rows = range(len(images))
            return self._side_by_side(lambda: finish(encode(rows, images)), words)
        shares, made = self.experts.router.weights(self.look(images).pooled).to(self._device), None
        if self.experts.merges:
            return finish(self._merged(self.experts, images, shares, encode))
        base = (shares.sum(1) == 0).to(shares)
        for name, share in zip((None, *self.experts.router.names), (base, *shares.T), strict=True):
            rows = share.nonzero()[:, 0]
            if not len(rows):
                continue
            self.experts.activate(self.backbone, name)
            part = encode(rows.tolist(), images.part(rows.tolist()))
            own = share[rows].view(-1, *(1,) * (part.dim() - 1))
            part = own * torch.where(own < 1, normalize(part, dim=-1), part)
            made = part.new_zeros(len(images), *part.shape[1:]) if made is None else made
            made = made.index_add(0, rows, part)
        assert made is not None
        return finish(made)

    def _merged(
        self,
        experts: Experts,
        images: Images,
        shares: Tensor,
        encode: Callable[[Sequence[int], Images], Tensor],
    ) -> Tensor:
        """Encode all pictures, each with the merge of its experts."""
        mixes, place = mixes_of(shares)
        changes = changes_of(self.backbone, experts.activate, experts.router.names)
        parts, order = [], []
        cache, self.cache = self.cache, None  # these weights do not come again
        try:
            for i, mix in enumerate(mixes.tolist()):
                rows = (place == i).nonzero()[:, 0].tolist()
                with merged(self.backbone, changes, mix):
                    parts.append(encode(rows, images.part(rows)))
                order += rows
        finally:
            self.cache = cache
        return torch.cat(parts)[torch.tensor(order).argsort()]
