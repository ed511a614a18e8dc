"""SugarCrepe++: two captions that say the same, and one that differs by a word."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from clplat.data.decoding import picture_file
from clplat.documents.checked import checked
from clplat.errors import UserError
from clplat.files import read_json
from clplat.parts.probes._base import Probe, Probes
from clplat.parts.probes._contrasts import Contrast, Contrasts

__all__ = ["SugarCrepePP"]

_KEYS = ("filename", "caption", "caption2", "negative_caption")


class SugarCrepePP(Probes):
    """Captions of pictures, in other words and with another meaning; a good model follows the meaning.

    One probe per file: ``accuracy`` is the paper's image-to-text task (both captions nearer to the picture
    than the negative one), ``text accuracy`` its text-only task (both captions nearer to each other than to
    the negative one).

    Args:
        folder: of the JSON files ``swap_obj.json``, ``swap_att.json``, ``replace_obj.json``,
            ``replace_att.json``, ``replace_rel.json``, or some of them: lists of ``filename``, ``caption``,
            ``caption2`` and ``negative_caption``.
        pictures: folder of the pictures that they name, COCO's val2017.

    Raises:
        ValueError: no such folder, no JSON file in it, or one that is not as described.

    Reference:
        Dumpala et al., "SUGARCREPE++ Dataset: Vision-Language Model Sensitivity to Semantic and Lexical
        Alterations", NeurIPS 2024 (datasets and benchmarks), arXiv:2406.11171.
    """

    def __init__(self, folder: str, pictures: str) -> None:
        self.folder, self.pictures = folder, pictures
        for what in (folder, pictures):
            if not Path(what).is_dir():
                raise ValueError(f"there is no folder {what}")
        files = sorted(Path(folder).glob("*.json"))
        if not files:
            raise ValueError(f"{folder} holds no JSON file of SugarCrepe++")
        self._entries = {file.stem: _read(file) for file in files}

    def build(self) -> list[Probe]:
        """One probe per file, ``sugarcrepe-pp/<file>``.

        Raises:
            UserError: a picture that is not there.
        """
        return [
            Contrasts(f"sugarcrepe-pp/{name}", [self._case(entry) for entry in entries])
            for name, entries in self._entries.items()
        ]

    def _case(self, entry: dict[str, str]) -> Contrast:
        path = Path(self.pictures, entry["filename"])
        if not path.is_file():
            raise UserError(f"SugarCrepe++ names the picture {path}, which is not there")
        picture = picture_file(f"coco/val2017/{entry['filename']}", path)
        return Contrast(picture, (entry["caption"], entry["caption2"]), (entry["negative_caption"],))


def _read(file: Path) -> list[dict[str, str]]:
    try:
        held = read_json(file)
        listed = list(held.values()) if isinstance(held, dict) else held
        entries: list[dict[str, str]] = checked(listed, list[dict[str, Any]], file, "list of captions")
    except UserError as error:
        raise ValueError(str(error)) from None
    for number, entry in enumerate(entries):
        missing = [key for key in _KEYS if not isinstance(entry.get(key), str) or not entry[key].strip()]
        if missing:
            raise ValueError(f"{file}: entry {number} has no {missing[0]}")
    return entries
