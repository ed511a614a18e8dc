"""Which backbones there can be, told without the libraries that load them."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from clplat.errors import UserError, nearest

__all__ = ["CONFIG", "HUB", "SHIPPED", "folder_named", "known_names", "path_of", "refuse_unknown"]

CONFIG = "open_clip_config.json"
#: Models that come with the package, one folder each.
SHIPPED = Path(__file__).parents[1] / "weights"


#: Begins the name of a model on the Hugging Face Hub.
HUB = "hf-hub:"


def folder_named(name: str) -> Path | None:
    """The folder that a name is the path of: ``local-dir:<folder>``, or one that begins as a path does.

    Example:
        >>> folder_named("./models/mine").name, folder_named("ViT-B/32")
        ('mine', None)

    Raises:
        UserError: the home of a user that there is not.
    """
    if name.startswith("local-dir:"):
        return path_of(name.removeprefix("local-dir:"))
    return path_of(name) if name.startswith((".", "/", "~")) else None


def path_of(name: str) -> Path:
    """A path, with ``~`` as the home of its user."""
    try:
        return Path(name).expanduser()
    except RuntimeError as error:  # the home of a user that there is not
        raise UserError(f"no such path: {name} ({error})") from None


def known_names() -> list[str]:
    """The shipped models, then open_clip's, by the files of their configurations."""
    ours = [folder.parent.name for folder in SHIPPED.glob(f"*/{CONFIG}")]
    found = find_spec("open_clip")
    places = (found.submodule_search_locations or []) if found is not None else []
    configs = [path.stem for place in places for path in Path(place, "model_configs").glob("*.json")]
    return [*sorted(ours), *sorted(configs)]


def refuse_unknown(name: str) -> None:
    """Raise UserError for a backbone that cannot be there, a folder that is not there too."""
    folder = folder_named(name)
    if folder is not None and not folder.is_dir():
        raise UserError(f"no such folder: {folder} (it should hold {CONFIG} and its weights, or config.json)")
    known = known_names()
    if folder is None and not name.startswith(HUB) and name.replace("/", "-") not in known:
        ours = [known_name for known_name in known if (SHIPPED / known_name).is_dir()]
        here = f"; there is a folder of this name: ./{name}" if name and Path(name).is_dir() else ""
        raise UserError(
            f"unknown backbone '{name}'{here or nearest(name, known)} (allowed: "
            f"{', '.join([*ours, './folder', f'{HUB}<owner>/<name>'])} or a name that "
            "open_clip.list_models() lists)"
        )
