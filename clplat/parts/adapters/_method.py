"""One weight adapter of PEFT as we offer it: a row of the table in ``_methods.py``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from clplat.config.space import Choice, Space
from clplat.parts.adapters._economy import Kept

__all__ = ["EVEN", "SHIFT_OF_KEYS", "Method"]


@dataclass(frozen=True)
class Method:
    """One PEFT method as we offer it.

    Attributes:
        name: of the public class; config: of PEFT's configuration class.
        title: what it is; paper: where it is from; remark: what a user must know.
        fixed: fields of the configuration that are not options.
        defaults: our defaults where they differ from PEFT's.
        hidden: options that do nothing here.
        nested: field of a sub-configuration, and its class, whose fields are options too.
        types: of options whose type PEFT does not state; space: search space where ours is special.
        targets: the kind of modules that it wraps by default; kinds: all that it can wrap; towers: default.
        b_rate: default of the option of that name, the multiple of A's learning rate that B has; 0: none.
        without_effect: names of tensors that change no output, see `Adapter.without_effect`.
        rewrites_base: attaching changes the base weights; tolerance: deviation of normalised features that
            attaching may cause (0: identity up to rounding);
            stacks: several can be in use together; mergeable: can be folded into the base weights.
        kept: what it keeps of a decomposition of wide weights, of which the rest is not computed.
    """

    name: str
    config: str
    title: str
    paper: str
    remark: str = ""
    fixed: Mapping[str, Any] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)
    hidden: tuple[str, ...] = ()
    nested: tuple[str, str] | None = None
    targets: str = "both"
    kinds: tuple[str, ...] = ("mlp", "attention", "both")
    towers: str = "both"
    types: Mapping[str, Any] = field(default_factory=dict)
    space: Mapping[str, Space] = field(default_factory=dict)
    b_rate: float = 0.0
    without_effect: tuple[str, ...] = ()
    rewrites_base: bool = False
    tolerance: float = 0.0
    stacks: bool = True
    mergeable: bool = True
    kept: Kept | None = None


#: A shift of the keys adds one number to a query's scores with all keys: the softmax takes it away again.
SHIFT_OF_KEYS = r"\.k_proj\."
EVEN = Choice(2, 4, 8, 16, 32, 64)
