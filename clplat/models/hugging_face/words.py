"""The tokenizer of a folder of transformers: CLIP's own byte pairs, or whatever lies in the folder."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import Any

from typing_extensions import TypedDict

from clplat.documents.checked import checked
from clplat.errors import UserError
from clplat.files import read_json

__all__ = ["FOLDER", "tokenizer_of"]

#: Begins the source of a tokenizer that lies in a folder.
FOLDER = "transformers:"
_FILES = (
    "tokenizer.json",
    "vocab.json",
    "merges.txt",
    "spiece.model",
    "tokenizer.model",
    "tokenizer_config.json",
)


class _Tokenizer(TypedDict, total=False):
    """``tokenizer.json``, as far as it is read: words and ids stand in the model, one way or another."""

    model: dict[str, Any]


def tokenizer_of(folder: Path, size: int) -> tuple[dict[str, Any], str]:
    """What ``text_cfg`` says of the tokenizer, and its source for `clplat.models.tokenizer.Tokenizer`.

    CLIP's byte pairs come with open_clip, and need no further library.

    Args:
        folder: of the model.
        size: of the vocabulary.

    Raises:
        UserError: there is no tokenizer, and the vocabulary is not CLIP's.
    """
    files = [folder / name for name in _FILES if (folder / name).is_file()]
    said = _vocabulary(folder)
    clips = _clip_words()
    if said == clips or (not files and size == len(clips) + 2):
        return {}, ""
    if not files:
        raise UserError(
            f"{folder} has no tokenizer (one of {', '.join(_FILES[:-1])}), and {size} words are not CLIP's "
            f"{len(clips) + 2}"
        )
    digest = hashlib.blake2b(digest_size=8)
    for file in files:
        digest.update(file.read_bytes())
    return {"hf_tokenizer_name": f"folder-{digest.hexdigest()}"}, f"{FOLDER}{folder.resolve()}"


def _vocabulary(folder: Path) -> dict[str, int] | None:
    """Words and their ids, without the marks of beginning and end; None where they are written otherwise."""
    if (folder / "vocab.json").is_file():
        words = read_json(folder / "vocab.json")
    elif (folder / "tokenizer.json").is_file():
        path = folder / "tokenizer.json"
        words = checked(read_json(path), _Tokenizer, path, "tokenizer").get("model", {}).get("vocab")
    else:
        return None
    if not isinstance(words, dict):
        return None
    return {word: i for word, i in words.items() if word not in ("<|startoftext|>", "<|endoftext|>")}


@cache
def _clip_words() -> dict[str, int]:
    import open_clip

    words: dict[str, int] = open_clip.SimpleTokenizer().encoder
    return {word: i for word, i in words.items() if word not in ("<start_of_text>", "<end_of_text>")}
