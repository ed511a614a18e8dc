"""The folder of an experiment: taken for one configuration, and for one process at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from clplat.config.differences import differences, in_words
from clplat.config.reading import write_yaml, yaml_of
from clplat.config.resolve import completed
from clplat.config.resolved import Config
from clplat.documents.result import read_result
from clplat.errors import UserError
from clplat.files import read_text, remove_leftovers, write_text
from clplat.kinds import KINDS
from clplat.locks import locked

RESULT, CHECKPOINT, CONFIG, LOCK = "result.json", "checkpoint.safetensors", "config.yaml", ".lock"
#: In a logged model: the path of a version that was too large to copy.
VERSION_ELSEWHERE = "version.path"


def default_folder(config: Config, root: Path = Path("runs")) -> Path:
    """``runs/<scenario>-<strategy>-<adapter>-<composer>-s<seed>``, younger slots before the seed where set"""
    younger = [slot for slot in config.as_dict() if slot in KINDS and not KINDS[slot].always]
    words = [config.name(slot) for slot in ("scenario", "strategy", "adapter", "composer", *younger)]
    return root / ("-".join(words).replace("/", "_").replace(":", "_").replace(",", "+") + f"-s{config.seed}")


def finished_result(folder: Path) -> dict[str, Any] | None:
    """The result of a locked folder whose run is complete; what it needed only to go on is removed."""
    if not (folder / RESULT).exists():
        return None
    result: dict[str, Any] = read_result(folder / RESULT)
    if result["status"] != "complete":
        return None
    (folder / CHECKPOINT).unlink(missing_ok=True)
    return result


def result_at_hand(folder: Path, config: Config) -> dict[str, Any] | None:
    """The result of a run of this very configuration that is complete, if the folder holds one.

    Raises:
        UserError: as `locked_run_folder`.
    """
    if not (folder / RESULT).exists():
        return None
    with locked_run_folder(folder, config):
        return finished_result(folder)


@contextmanager
def locked_run_folder(folder: Path, config: Config) -> Iterator[None]:
    """Take a folder for a configuration, and for this process alone until the end of the block.

    A folder belongs to a configuration as soon as a row of the result is on disk; before that nothing is lost
    when another one, a mended one say, starts over in it.

    Raises:
        UserError: the folder holds another experiment or other files, is in use, or cannot be written.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(folder / LOCK, wait=False))
        except BlockingIOError:
            raise UserError(f"another process is running the experiment in {folder}") from None
        except OSError as error:
            raise UserError(f"cannot use the output folder {folder}: {error.strerror}") from None
        remove_leftovers(folder)
        described = folder / CONFIG
        others = sorted({path.name for path in folder.iterdir()} - {LOCK})
        if others and not described.exists():
            raise UserError(f"{folder} holds '{others[0]}' but no experiment; choose another --out")
        if (folder / CHECKPOINT).exists() or (folder / RESULT).exists():
            other = differences(_described(described), config.as_dict())
            if other:
                said = in_words(other)
                raise UserError(f"{folder} holds another experiment ({said}); choose another --out")
        else:
            write_text(described, write_yaml(config.as_dict()), comment="#")
        yield


def _described(path: Path) -> Any:
    """What the folder holds; options that are younger than it have their defaults."""
    try:
        written = yaml_of(read_text(path))
        return completed(written) if isinstance(written, dict) else written
    except ValueError as error:
        raise UserError(f"{path} is damaged, so it is not known what that folder holds: {error}") from None
