"""What a run found for a hidden test set, as the files that its server takes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from clplat.data.records import RetrievalSet
from clplat.errors import UserError, unknown_name
from clplat.evaluation.lists import Lists, load_lists
from clplat.evaluation.submissions import write
from clplat.runs.load import config_of, version_file

__all__ = ["submit", "submit_lists"]


def submit(
    folder: Path, out: Path, name: str, which: str = "test", *, domain: str = "", version: int | None = None
) -> list[Path]:
    """Write the files of a submission from the lists that a run kept; nothing is embedded.

    Args:
        folder: of the run.
        out: where the files go.
        name: of the format, ``circo`` or ``cirr``; by default the first word of the protocol's name.
        which: the set of queries.
        domain: whose; needed where several domains have the set.
        version: experiences trained; by default the newest.

    Raises:
        UserError: no such run, version, set or domain; what `clplat.evaluation.submissions.check` refuses.
    """
    newest = int(version_file(folder, version).stem)
    lists = load_lists(folder / "lists" / f"{newest}.safetensors")
    if which not in lists:
        raise unknown_name("set", which, lists)
    if domain and domain not in lists[which]:
        raise unknown_name("domain", domain, lists[which])
    if not domain and len(lists[which]) > 1:
        there = ", ".join(lists[which])
        raise UserError(f"several domains have the set '{which}'; name one with --domain ({there})")
    chosen = domain or next(iter(lists[which]))
    domains = (e.domain for e in config_of(folder).make("scenario").benchmark().train_stream)
    held = next((one.sets[which] for one in domains if one.name == chosen and which in one.sets), None)
    if held is None:
        raise UserError(f"the stream of {folder} no longer has the set '{which}' of domain '{chosen}'")
    return write(out, held, lists[which][chosen], name or held.protocol.name.partition("/")[0])


def submit_lists(
    out: Path, sets: Mapping[str, Mapping[str, RetrievalSet]], lists: Mapping[str, Mapping[str, Lists]]
) -> list[Path]:
    """Write the files of every set with hidden labels, from lists that were just made.

    Args:
        out: where the files go; where there are several such sets or domains, a folder each.
        sets: set -> domain -> queries and gallery.
        lists: set -> domain -> the best rows of every query.

    Raises:
        UserError: no set hides its labels; what `clplat.evaluation.submissions.check` refuses.
    """
    held = [(set_, domain, one) for set_, own in sets.items() for domain, one in own.items()]
    hidden = [(set_, domain, one) for set_, domain, one in held if one.labels == "hidden"]
    if not hidden:
        raise UserError(f"there is nothing to submit: the labels of {', '.join(sets)} are known here")
    paths = []
    for set_, domain, one in hidden:
        folder = out / set_ / domain if len(hidden) > 1 else out
        paths += write(folder, one, lists[set_][domain], one.protocol.name.partition("/")[0])
    return paths
