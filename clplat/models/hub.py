"""Models of the Hugging Face Hub: their files, from its cache on this machine or downloaded into it."""

from __future__ import annotations

import re
from pathlib import Path

from clplat.errors import UserError

__all__ = ["hub_folder"]

#: What a model is read from; other files of a repository are not fetched.
_FILES = ("*.json", "*.txt", "*.model", "model*.safetensors", "open_clip*.safetensors")
_NAME = re.compile(r"(?P<repository>[\w.-]+/[\w.-]+)(@(?P<revision>[\w./-]+))?")


def hub_folder(name: str) -> Path:
    """The folder of a model on the Hub, ``owner/name`` or ``owner/name@revision``.

    Raises:
        UserError: no such name; it is not in the cache, and there is no network or no such repository.
    """
    found = _NAME.fullmatch(name)
    if found is None:
        raise UserError(f"'{name}' names no model of the Hub (allowed: owner/name, owner/name@revision)")
    from huggingface_hub import snapshot_download

    repository, revision = found["repository"], found["revision"]
    try:
        return Path(snapshot_download(repository, revision=revision, allow_patterns=list(_FILES)))
    except Exception as error:  # the hub, its client and the file system each raise their own kinds
        said = " ".join(str(error).split())[:160] or type(error).__name__
        raise UserError(
            f"'{name}' is not in the Hub's cache on this machine, and cannot be downloaded: {said}; offline, "
            "give a folder, --backbone ./folder"
        ) from error
