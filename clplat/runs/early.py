"""What is refused before the libraries are loaded that would refuse it too, seconds later."""

from __future__ import annotations

from clplat.config.resolved import Config
from clplat.errors import UserError
from clplat.models.known import refuse_unknown

__all__ = ["check_device", "refuse_early"]


def refuse_early(config: Config) -> None:
    """Look at the backbone's name, the device and the scenario's folder or file.

    Raises:
        UserError: one of them is not there.
    """
    refuse_unknown(config.name("backbone"))
    check_device(config.device)
    missing = getattr(config.make("scenario"), "refuse_missing", None)
    if missing is not None:
        missing()


def check_device(device: str) -> None:
    """Raise UserError for a device that torch cannot use."""
    import torch

    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"device '{device}' cannot be used: {reason}") from None
