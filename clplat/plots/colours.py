"""One fixed colour per strategy, the same in MLflow, in matplotlib and in the report.

The palette extends Okabe and Ito's, which stays apart under the three common kinds of colour blindness.
"""

from __future__ import annotations

import colorsys
import hashlib

__all__ = ["DOMAIN_COLOURS", "STRATEGY_COLOURS", "domain_colour", "method_colour", "strategy_colour"]

# Bounds are grey and black (they are references, not contenders); the contenders have the hues.
STRATEGY_COLOURS = {
    "frozen": "#8c8c8c",
    "cumulative": "#222222",
    "naive": "#d55e00",
    "replay": "#0072b2",
    "ewc": "#009e73",
    "distill": "#cc79a7",
    "patch": "#e69f00",
    "agem": "#56b4e9",
    "lora_per_domain": "#7b4ab8",
    "backward_compatible": "#8f6a2a",
}

# For names we do not know: hues between those above, so that a new strategy never has a known colour.
_OTHERS = ("#b2182b", "#1b7837", "#4d4dff", "#c51b7d", "#3b6e8f", "#a6761d", "#00868b", "#6b6b00")

# Domains are another kind of thing than strategies: the eight of Tol's "muted" scheme.
DOMAIN_COLOURS = ("#332288", "#cc6677", "#117733", "#ddaa33", "#88ccee", "#882255", "#44aa99", "#999933")


def strategy_colour(name: str) -> str:
    """The colour of a strategy as ``#rrggbb``; a name we do not know gets one by a stable hash.

    Example:
        >>> strategy_colour("replay")
        '#0072b2'
        >>> strategy_colour("mine") == strategy_colour("mine")
        True
    """
    return STRATEGY_COLOURS.get(name) or _OTHERS[_stable(name) % len(_OTHERS)]


def method_colour(strategy: str, label: str) -> str:
    """The colour of a method where there is nothing but colours; figures use marks too (`styles`).

    That of its strategy, in another shade if the label says more than its name; one of its own if the label
    does not name the strategy, because all methods may have the same.

    Example:
        >>> method_colour("replay", "replay") == strategy_colour("replay")
        True
        >>> len({method_colour("replay", name) for name in ("replay", "replay (tuned)", "replay-2", "lora")})
        4
    """
    colour, (first, second) = strategy_colour(strategy), divmod(_stable(label) % 65536, 256)
    if label == strategy:
        return colour
    hue, _, strong = colorsys.rgb_to_hls(*(int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)))
    if strategy not in label:
        hue, strong = first / 256, 0.6
    return _hex(colorsys.hls_to_rgb((hue + 0.1 * (first / 256 - 0.5)) % 1, 0.2 + 0.45 * second / 256, strong))


def domain_colour(index: int, count: int) -> str:
    """The colour of the domain at ``index`` of ``count``; past eight, evenly spread hues instead.

    Example:
        >>> domain_colour(0, 4)
        '#332288'
    """
    if count <= len(DOMAIN_COLOURS):
        return DOMAIN_COLOURS[index]
    return _hex(colorsys.hls_to_rgb(index / count, 0.4, 0.6))


def _hex(channels: tuple[float, float, float]) -> str:
    return "#" + "".join(f"{round(255 * channel):02x}" for channel in channels)


def _stable(name: str) -> int:
    """A number that a name always has."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big")
