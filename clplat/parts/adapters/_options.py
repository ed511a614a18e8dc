"""Constructor parameters of adapters, read off PEFT's configuration: types, defaults, help, search space."""

from __future__ import annotations

import dataclasses
import inspect
import re
import types
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from clplat.config.space import Float, Int, Space
from clplat.parts.adapters._methods import Method

__all__ = ["B_RATE", "OWN", "config_class", "docstring", "nested_class", "parameters"]

#: The options that every adapter has; all others are fields of PEFT's configuration, but for one of LoRA+.
OWN = ("targets", "towers", "last")
B_RATE = "b_rate"

# Fields that are not options: which modules (resolved by us), how to start (at the identity), what to save,
# seeds of fixed projections, and switches between methods that have rows of their own.
_HIDDEN = re.compile(
    r"target_modules|exclude_modules|feedforward_modules|modules_to_save|target_parameters|layers_.*|fan_in_fan_out"
    r"|bias|ensure_weight_tying|megatron_core|use_effective_conv2d|init_(\w+_)?weights|save_.*|.*_seed|.*_prng_key"
    r"|use_dora|use_rslora|use_qalora|qalora_group_size|runtime_.*|progressbar"
)


def config_class(method: Method) -> Any:
    """PEFT's configuration class of a method."""
    import peft

    return getattr(peft, method.config)


def nested_class(method: Method) -> Any:
    """The class of the method's sub-configuration, or None."""
    import peft.tuners.lora.config as lora

    return getattr(lora, method.nested[1]) if method.nested is not None else None


def parameters(method: Method) -> tuple[list[inspect.Parameter], dict[str, str]]:
    """Return the constructor's parameters and the help of each."""
    kinds = ", ".join(f'"{kind}"' for kind in method.kinds)
    # The annotations are objects, not text: `inspect.signature` and the command line read them at run time.
    kind: Any = Literal[method.kinds]
    towers: Any = Literal["both", "image", "text"]
    result = [
        _parameter("targets", kind | Sequence[str], method.targets),
        _parameter("towers", towers, method.towers),
        _parameter("last", int | None, None),
    ]
    texts = {
        "targets": f"modules that are wrapped: {kinds}, or names of modules.",
        "towers": "one tower or both.",
        "last": "only this many last blocks of each tower; default all.",
    }
    if method.b_rate:
        rates = Annotated[float, Float(2.0, 32.0, log=True)]
        result.append(_parameter(B_RATE, rates, method.b_rate))
        texts[B_RATE] = "multiple of A's learning rate that B has."
    for field, hint in _fields(method):
        default = method.defaults.get(field.name, field.default)
        hint = method.types.get(field.name, hint)
        mark = method.space.get(field.name) or _space(field.name, hint, default)
        result.append(_parameter(field.name, Annotated[hint, mark] if mark else hint, default))
        texts[field.name] = " ".join(str(field.metadata.get("help", "")).split()) or "see PEFT."
    return result, texts


def docstring(method: Method, texts: dict[str, str]) -> str:
    """The class's docstring; its first line says what the method is, and the paper."""
    head = f"{method.name}: {method.title} ({method.paper})."
    body = f"\n\n{method.remark}" if method.remark else ""
    args = "\n".join(f"    {name}: {text}" for name, text in texts.items())
    return f"{head}{body}\n\nArgs:\n{args}\n"


def _fields(method: Method) -> Iterator[tuple[dataclasses.Field[Any], Any]]:
    """Fields of simple types that are neither fixed nor hidden, those of the sub-configuration last."""
    import peft

    skip = (
        {field.name for field in dataclasses.fields(peft.PeftConfig)} | set(method.fixed) | set(method.hidden)
    )
    for kind in (config_class(method), nested_class(method)):
        hints = get_type_hints(kind) if kind is not None else {}
        for field in dataclasses.fields(kind) if kind is not None else ():
            simple = field.name in method.types or _simple(hints[field.name])
            hidden = field.name in skip or _HIDDEN.fullmatch(field.name)
            if simple and not hidden and field.default is not dataclasses.MISSING:
                yield field, hints[field.name]


def _simple(hint: Any) -> bool:
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        return all(_simple(part) for part in get_args(hint))
    return origin is Literal or hint in (int, float, bool, str, type(None))


def _parameter(name: str, hint: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=default, annotation=hint)


def _space(name: str, hint: Any, default: Any) -> Space | None:
    """The range in which an option is worth searching, for those where that is known."""
    if default is None or isinstance(default, bool):
        return None
    if name == "r":
        return Int(2, 64, log=True) if default <= 64 else Int(16, 512, log=True)
    if name.endswith("dropout"):
        return Float(0.0, 0.3)
    if name.endswith("alpha") and hint is int:
        return Int(4, 128, log=True) if default <= 128 else None
    return None
