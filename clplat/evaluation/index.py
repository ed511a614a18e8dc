"""Approximate search with faiss, for galleries where even one exact pass per query takes too long.

Every kind answers as `top_k` does, by inner product; only which rows it overlooks differs, and `Index.recall`
measures that. ``exact`` needs no faiss and overlooks none.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from clplat.errors import UserError, unknown_name
from clplat.evaluation.gallery import GalleryReader, Rows, Scored
from clplat.evaluation.ranking import top_k

#: ``hnsw`` walks a graph of neighbours (arXiv:1603.09320), ``ivf`` looks into the cells nearest to the query.
KINDS = ("exact", "hnsw", "ivf")


class Index:
    """A searchable gallery; made by `build_index`.

    Args:
        gallery: (G, D) embeddings.
        kind: one of `KINDS`.
        engine: the faiss index of these rows, None for ``exact``.
    """

    def __init__(self, gallery: Tensor | Scored, kind: str, engine: Any) -> None:
        self.gallery, self.kind, self._engine = gallery, kind, engine

    def search(self, queries: Tensor, k: int, exclude: Rows | None = None) -> Tensor:
        """The k best rows that the index finds for every query.

        Arguments, result and errors are those of `top_k`.
        """
        if self._engine is None or len(queries) == 0:
            return top_k(queries, self.gallery, k, exclude)
        if k < 1:
            raise ValueError(f"k must be at least 1, not {k}")
        _, hidden = GalleryReader(self.gallery).rows(queries, None, exclude)
        if not torch.isfinite(queries).all():
            raise ValueError("non-finite scores: an embedding of the queries is NaN or infinite")
        # Excluded rows may be among those found: search for that many more, and leave them out afterwards.
        wanted = min(k + int((hidden >= 0).sum(1).max()), GalleryReader(self.gallery).shape[0])
        _, rows = self._engine.search(_matrix(queries), wanted)
        found = torch.from_numpy(rows).to(queries.device)
        keep = (found >= 0) & ~(found[:, :, None] == hidden[:, None, :]).any(2)
        place = torch.where(keep, keep.cumsum(1) - 1, k).clamp(max=k)
        out = found.new_full((len(found), k + 1), -1).scatter_(1, place, found.masked_fill(~keep, -1))
        return out[:, :k]

    @property
    def rows(self) -> Tensor:
        """What is searched (G, D)."""
        return torch.as_tensor(self.gallery.rows if isinstance(self.gallery, Scored) else self.gallery)

    def scores(self, query: Tensor, found: Sequence[int]) -> list[float]:
        """Exact scores of one query (1, D) with rows that were found."""
        reader, rows = GalleryReader(self.gallery), torch.tensor(list(found), dtype=torch.long)
        return reader.scores(query.float(), torch.zeros_like(rows), rows).tolist()

    def recall(self, queries: Tensor, k: int) -> float:
        """The share of the exact k best rows that the index finds, 0 to 1.

        Raises:
            ValueError: no queries; as `top_k`.
        """
        if len(queries) == 0:
            raise ValueError("the recall of no queries is undefined")
        right = top_k(queries, self.gallery, k)
        found = self.search(queries, k)
        hits = (right[:, :, None] == found[:, None, :]) & (right >= 0)[:, :, None]
        return float(hits.sum() / (right >= 0).sum())


def build_index(gallery: Tensor | Scored, kind: str = "exact", seed: int = 0) -> Index:
    """Index a gallery.

    ``hnsw`` links every row to 32 others. ``ivf`` cuts G rows into at most ``4 sqrt(G)`` cells, of 40 rows or
    more, and looks into one in eight. On a few thousand rows neither is faster than ``exact``.

    Args:
        gallery: (G, D) embeddings, unit rows for cosine scores.
        kind: one of `KINDS`.
        seed: of the training of ``ivf``; equal seeds give equal indexes.

    Raises:
        UserError: unknown kind; faiss is not installed; a kind that the gallery's scorer cannot use.
        ValueError: the gallery is empty, no matrix, or not finite.

    Example:
        >>> index = build_index(torch.eye(3), "exact")
        >>> index.search(torch.tensor([[0.9, 0.1, 0.0]]), k=2, exclude=[0])
        tensor([[1, 2]])
        >>> index.recall(torch.eye(3), k=1)
        1.0
    """
    if kind not in KINDS:
        raise unknown_name("index", kind, KINDS)
    size, width = GalleryReader(gallery).shape
    if kind == "exact":
        return Index(gallery, kind, None)
    if isinstance(gallery, Scored):
        if not gallery.scorer.approximable:
            name = type(gallery.scorer).__name__
            raise UserError(f"index '{kind}' searches by inner product, scorer {name} is none; use exact")
        gallery = torch.as_tensor(gallery.rows)
    if not torch.isfinite(gallery).all():
        raise ValueError("non-finite scores: an embedding of the gallery is NaN or infinite")
    faiss = _faiss()
    rows = _matrix(gallery)
    if kind == "hnsw":
        engine = faiss.IndexHNSWFlat(width, 32, faiss.METRIC_INNER_PRODUCT)
        engine.hnsw.efConstruction, engine.hnsw.efSearch = 200, 128
        _add_on_one_thread(faiss, engine, rows)
    else:
        cells = max(1, min(int(4 * math.sqrt(size)), size // 40))  # fewer rows per cell, and k-means warns
        engine = faiss.IndexIVFFlat(faiss.IndexFlatIP(width), width, cells, faiss.METRIC_INNER_PRODUCT)
        engine.cp.seed, engine.nprobe = seed % 2**31, -(-cells // 8)
        engine.train(rows)
        engine.add(rows)
    return Index(gallery, kind, engine)


def _add_on_one_thread(faiss: Any, engine: Any, rows: Any) -> None:
    """Threads that add to a graph at once race for its links: one thread always makes the same graph."""
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        engine.add(rows)
    finally:
        faiss.omp_set_num_threads(threads)


def _matrix(rows: Tensor) -> Any:
    """As faiss takes it: float32, contiguous, on the CPU."""
    return np.ascontiguousarray(rows.detach().float().cpu().numpy())


def _faiss() -> Any:
    try:
        import faiss
    except ImportError:
        raise UserError("this index needs faiss: pip install 'clplat[index]'") from None
    return faiss
