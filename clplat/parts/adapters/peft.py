"""The weight adapters of PEFT: a typed class for every row of `methods.METHODS`.

The classes (``LoRA``, ``DoRA``, ``VeRA``, ...) are made on first use from PEFT's own configurations, because
importing PEFT takes seconds: ``from clplat.parts.adapters.peft import LoRA`` imports it,
``import clplat.parts.adapters.peft`` does not. The constructor of each is its configuration.

Example:
    >>> from clplat.parts.adapters.peft import LoRA
    >>> LoRA(targets="mlp", r=4)
    LoRA(targets='mlp', r=4)
"""

from __future__ import annotations

import inspect
from functools import cache
from pathlib import Path
from typing import Any

from typing_extensions import NotRequired, TypedDict

from clplat.documents.checked import checked
from clplat.errors import UserError, unknown_name
from clplat.files import read_json
from clplat.models.backbone import Backbone
from clplat.parts.adapters._folders import found_in
from clplat.parts.adapters._methods import METHODS, UNSUITABLE
from clplat.parts.adapters._options import docstring, parameters
from clplat.parts.adapters._peft import CONFIG, NOTE, PeftAdapter

__all__ = ["METHODS", "UNSUITABLE", "PeftAdapter", "adapter_class", "load_adapter"]

#: The adapters that this module makes, by name; read as text by `clplat.scan`.
PARTS = {
    "lora": "LoRA",
    "rslora": "RsLoRA",
    "lora_plus": "LoRAPlus",
    "dora": "DoRA",
    "pissa": "PiSSA",
    "olora": "OLoRA",
    "velora": "VeLoRA",
    "mica": "MiCA",
    "kasa": "KaSA",
    "bdlora": "BDLoRA",
    "monteclora": "MonteCLoRA",
    "adalora": "AdaLoRA",
    "vera": "VeRA",
    "pvera": "PVeRA",
    "loha": "LoHa",
    "lokr": "LoKr",
    "oft": "OFT",
    "boft": "BOFT",
    "hra": "HRA",
    "psoft": "PSOFT",
    "road": "RoAD",
    "ia3": "IA3",
    "ln_tuning": "LNTuning",
    "vblora": "VBLoRA",
    "unilora": "UniLoRA",
    "fourierft": "FourierFT",
    "c3a": "C3A",
    "waveft": "WaveFT",
    "miss": "MiSS",
    "randlora": "RandLoRA",
    "shira": "SHiRA",
    "delora": "DeLoRA",
    "osf": "OSF",
    "gralora": "GraLoRA",
    "hira": "HiRA",
    "tinylora": "TinyLoRA",
    "peanut": "PEANuT",
    "beft": "BEFT",
    "lily": "Lily",
    "frod": "FRoD",
    "glora": "GLoRA",
    "adamss": "AdaMSS",
    "deft": "DEFT",
    "supertuning": "SuperTuning",
}


class _Note(TypedDict):
    """What `PeftAdapter.save` notes beside PEFT's own files."""

    method: str
    options: dict[str, Any]
    base: str
    iterated: NotRequired[bool]


@cache
def adapter_class(method: str) -> type[PeftAdapter]:
    """The class of a row of `METHODS`, made from PEFT's configuration.

    Example:
        >>> adapter_class("dora").__name__
        'DoRA'
    """
    row = METHODS.get(method)
    if row is None:
        why = f": {UNSUITABLE[method]}" if method in UNSUITABLE else ""
        raise UserError(f"{unknown_name('adapter', method, METHODS)}{why}")
    options, texts = parameters(row)
    signature = inspect.Signature(
        [inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD), *options], return_annotation=None
    )

    def __init__(self: PeftAdapter, *args: Any, **kwargs: Any) -> None:
        bound = signature.bind(self, *args, **kwargs)
        bound.apply_defaults()
        PeftAdapter.__init__(**bound.arguments)

    __init__.__signature__ = signature  # type: ignore[attr-defined]
    __init__.__annotations__ = {option.name: option.annotation for option in options}
    __init__.__qualname__ = f"{row.name}.__init__"
    body = {
        "__init__": __init__,
        "__doc__": docstring(row, texts),
        "__module__": __name__,
        "method": method,
        "rewrites_base": row.rewrites_base,
        "mergeable": row.mergeable,
        "identity_at_init": row.tolerance == 0.0,
        "tolerance": row.tolerance,
        "without_effect": row.without_effect,
    }
    return type(row.name, (PeftAdapter,), body)


def load_adapter(backbone: Backbone, folder: Path, name: str = "default") -> PeftAdapter:
    """Attach what `PeftAdapter.save` or PEFT itself wrote, whatever its method.

    torch's generator is untouched. Which base a folder of PEFT's own was trained on is not known.

    Raises:
        UserError: the folder is missing or damaged, of a method or with options that are not offered, or the
            adapter was trained on other base weights.
    """
    folder = Path(folder)
    if (folder / CONFIG).is_file() and not (folder / NOTE).exists():
        plain = found_in(folder, backbone, adapter_class)
        plain.restore(backbone, folder, name)
        return plain
    note = checked(read_json(folder / NOTE), _Note, folder / NOTE, "note of an adapter")
    try:
        adapter = adapter_class(note["method"])(**note["options"])
    except (UserError, TypeError, ValueError) as error:  # another release may know other methods and options
        raise UserError(f"{folder / NOTE}: {error}") from error
    adapter.restore(backbone, folder, name, note["base"], note.get("iterated", False))
    return adapter


def __getattr__(name: str) -> type[PeftAdapter]:
    for method, made in PARTS.items():
        if made == name:
            return adapter_class(method)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
