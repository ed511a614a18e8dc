"""Arithmetic of directions in an embedding space: arcs, removed directions, explained parts, whitening."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

__all__ = ["LERP_FROM", "arc", "explained_by", "whitening", "without"]

#: Beyond this |cosine| the arc is so short, or so ambiguous, that its chord is used: sin(theta) nears zero.
LERP_FROM = 0.9995


def arc(left: Tensor, right: Tensor, share: float) -> Tensor:
    """Walk the share of the great arc from the directions of (B, D) to those of another (B, D).

    ``sin((1 - a) th) / sin(th) n(l) + sin(a th) / sin(th) n(r)``, th = the angle between both and n =
    division by the L2 norm; linear interpolation where the cosine exceeds 0.9995 in size.

    Example:
        >>> arc(torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 3.0]]), 1 / 3)
        tensor([[0.8660, 0.5000]])
    """
    left, right = normalize(left, dim=-1), normalize(right, dim=-1)
    cosine = (left * right).sum(-1, keepdim=True)
    # Clamping also keeps the gradient of acos finite on the rows that take the chord.
    theta = torch.acos(cosine.clamp(-LERP_FROM, LERP_FROM))
    along = (torch.sin((1.0 - share) * theta) * left + torch.sin(share * theta) * right) / torch.sin(theta)
    chord = (1.0 - share) * left + share * right
    return normalize(torch.where(cosine.abs() > LERP_FROM, chord, along), dim=-1)


def without(rows: Tensor, directions: Tensor, share: float = 1.0) -> Tensor:
    """Rows (B, D) without their part in the span of directions (B, K, D), of each row its own.

    Directions of zeros take nothing away.

    Args:
        share: of that part which is taken away.

    Example:
        >>> rows = torch.tensor([[1.0, 2.0, 3.0]])
        >>> without(rows, torch.tensor([[[0.0, 2.0, 0.0], [0.0, 0.0, 0.0]]]))
        tensor([[1., 0., 3.]])
    """
    basis: list[Tensor] = []
    part = torch.zeros_like(rows)
    for one in directions.unbind(1):
        for other in basis:
            one = one - (one * other).sum(-1, keepdim=True) * other
        basis.append(normalize(one, dim=-1))
        part = part + (rows * basis[-1]).sum(-1, keepdim=True) * basis[-1]
    return rows - share * part


def explained_by(text: Tensor, image: Tensor) -> Tensor:
    """The map (D, D) that explains pictures (N, D) by their texts (N, D) best: ``pinv(C_tt) C_tv``.

    C are covariances that are not centred; a picture minus its text times this map is the part whose
    covariance is the Schur complement ``C_vv - C_vt pinv(C_tt) C_tv``.

    Example:
        >>> text = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
        >>> turn = torch.tensor([[0.0, 2.0], [1.0, 0.0]])
        >>> torch.allclose(explained_by(text, text @ turn), turn, atol=1e-5)
        True
    """
    t, v = text.double(), image.double()
    found: Tensor = torch.linalg.pinv(t.T @ t, hermitian=True) @ (t.T @ v)
    return found.to(text.dtype)


def whitening(rows: Tensor, power: float, common: int = 0, shrink: float = 1e-3) -> Tensor:
    """The symmetric map (D, D) that evens out the variances of centred rows (N, D).

    ``U diag(f) U'`` with U the principal directions and ``f = (l / mean l + shrink)^(-power / 2)``, l their
    variances; f is 0 for the ``common`` largest.

    Args:
        power: 0 leaves variances as they are, 1 makes them equal up to ``shrink``.
        common: leading directions that are taken out.
        shrink: what variances have beside their own, in mean variances.

    Example:
        >>> rows = torch.tensor([[2.0, 0.0], [-2.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
        >>> even = (rows @ whitening(rows, 1.0, shrink=0.0)).square().sum(0)
        >>> torch.allclose(even, torch.tensor([5.0, 5.0]))
        True
    """
    wide = rows.double()
    variances, directions = torch.linalg.eigh(wide.T @ wide / len(rows))
    factors = (variances.clamp(min=0.0) / variances.mean().clamp(min=1e-12) + shrink) ** (-power / 2)
    factors[len(factors) - common :] = 0.0
    matrix: Tensor = directions * factors @ directions.T
    return matrix.to(rows.dtype)
