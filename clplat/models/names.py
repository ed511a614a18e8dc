"""Names of a model's tensors, free of those that torch puts around parts of it."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn

from clplat.errors import UserError

__all__ = ["bare_name", "named_buffers", "named_parameters", "refuse_wrapped", "stored_names"]

#: Of torch.compile, of sharding, of activation checkpointing; each stands before the module's own name.
_WRAPPERS = ("_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.")


def bare_name(name: str) -> str:
    """The name of a tensor as it is where nothing is wrapped.

    Example:
        >>> bare_name("visual._orig_mod.proj.weight")
        'visual.proj.weight'
    """
    for wrapper in _WRAPPERS:
        name = name.replace(wrapper, "")
    return name


def named_parameters(model: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """``model.named_parameters()``, by names that are the same with and without torch.compile.

    Example:
        >>> [name for name, _ in named_parameters(nn.Sequential(nn.Linear(1, 1, bias=False)))]
        ['0.weight']
    """
    for name, parameter in model.named_parameters():
        yield bare_name(name), parameter


def named_buffers(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """``model.named_buffers()`` in the same way."""
    for name, buffer in model.named_buffers():
        yield bare_name(name), buffer


def stored_names(model: nn.Module) -> set[str]:
    """Names of what stands in the model's state dict."""
    return {bare_name(name) for name in model.state_dict()}


def refuse_wrapped(model: nn.Module) -> None:
    """Before parts are put inside a model: their names, which adapters are stored by, are to be its own.

    Raises:
        UserError: a part of the model is inside a wrapper.
    """
    for path, _ in model.named_modules():
        for wrapper in _WRAPPERS:
            if path.endswith(wrapper.rstrip(".")):
                part = path.removesuffix(wrapper.rstrip(".")).rstrip(".")
                raise UserError(
                    f"'{part}' is inside a wrapper, which renames its tensors ({path}): attach first; "
                    f"`{part}.compile()` compiles it in place"
                )
