"""Which backbones there can be, told without the libraries that load them."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from clplat.errors import UserError, nearest

__all__ = ["CONFIG", "SHIPPED", "known_names", "refuse_unknown"]

CONFIG = "open_clip_config.json"
#: Models that come with the package, one folder each.
SHIPPED = Path(__file__).parents[1] / "weights"


def known_names() -> list[str]:
    """The shipped models, then open_clip's, by the files of their configurations."""
    ours = [folder.parent.name for folder in SHIPPED.glob(f"*/{CONFIG}")]
    found = find_spec("open_clip")
    places = (found.submodule_search_locations or []) if found is not None else []
    configs = [path.stem for place in places for path in Path(place, "model_configs").glob("*.json")]
    return [*sorted(ours), *sorted(configs)]


def refuse_unknown(name: str) -> None:
    """Raise UserError for a backbone that cannot be there, ``local-dir:<folder>`` without its folder too."""
    kind, separator, place = name.partition(":")
    if separator:
        if kind == "local-dir" and not Path(place).expanduser().is_dir():
            raise UserError(
                f"no such folder: {place} (it should hold {CONFIG} and open_clip_model.safetensors)"
            )
        return
    known = known_names()
    if name.replace("/", "-") not in known:
        ours = [known_name for known_name in known if (SHIPPED / known_name).is_dir()]
        raise UserError(
            f"unknown backbone '{name}'{nearest(name, known)} (allowed: "
            f"{', '.join([*ours, 'local-dir:<folder>'])} or a name that open_clip.list_models() lists)"
        )
