"""Texts in a file by picture and by text: captions, captions after a change, answers, descriptions.

A row is named by the key of a picture, by a text, or by both: a picture alone has captions; a picture with a
modification text has the captions that it would have after that change; with a question, its answers; a text
alone, such as the name of a class, has descriptions. JSON Lines (``{"picture": ..., "text": ..., "texts":
[...]}``) or Parquet with these columns.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from clplat.errors import UserError
from clplat.extras import named_extras
from clplat.files import CHECKSUM, is_as_written, parsed, write_checked

__all__ = ["LONGEST", "TextTable", "collected", "row_of"]

#: Letters of a text; what is longer is no caption.
LONGEST = 4096
_Rows = dict[tuple[str, str], tuple[str, ...]]


class TextTable:
    """Texts by the key of a picture and by a text, each "" where a row has none.

    Args:
        rows: (picture, text) -> one or several texts.
        made: how they were made, as plain data: what was asked of which model, by a hash of the prompt.
        where: the file, for errors.

    Example:
        >>> table = TextTable({("bag.jpg", ""): ("a red bag",), ("bag.jpg", "is blue"): ("a blue bag",)})
        >>> table.texts("bag.jpg@1205-77", "is blue")  # behind the @ stands how large and old a file is
        ('a blue bag',)
    """

    def __init__(
        self,
        rows: Mapping[tuple[str, str], Sequence[str]],
        made: Sequence[Mapping[str, Any]] = (),
        where: str | Path = "a table of texts",
    ) -> None:
        self.rows: _Rows = {key: tuple(texts) for key, texts in rows.items()}
        self.made, self.where = [dict(one) for one in made], where

    @classmethod
    def read(cls, path: str | Path) -> TextTable:
        """The table in a file, JSON Lines or Parquet by its ending.

        Raises:
            UserError: no such file, a damaged one, a row that is none or stands twice; with its place.
        """
        path = Path(path)
        if not path.is_file():
            raise UserError(f"no such file: {path}; `clplat texts write` makes one, see clplat texts --help")
        if path.suffix.lower() == ".parquet":
            return cls(collected(_parquet(path)), where=path)
        try:
            whole = is_as_written(path)
            lines = path.read_bytes().splitlines()
        except OSError as error:
            raise UserError(f"{path} cannot be read: {error.strerror}") from None
        if not whole:
            own = "if you changed it yourself, delete its first line"
            raise UserError(f"{path} is damaged: these are not the bytes that were written ({own})")
        made: list[Any] = []
        if lines and lines[0].startswith(b'{"$lines_crc32"'):
            made = parsed(lines.pop(0), f"{path}:1").get("made", [])
            lines.insert(0, b"")
        numbered = ((f"{path}:{n}", line) for n, line in enumerate(lines, 1) if line.strip())
        return cls(collected((place, parsed(line, place)) for place, line in numbered), made, path)

    def write(self, path: Path) -> None:
        """Write it as JSON Lines, atomically and with a checksum; rows in the order of their names."""
        head = json.dumps({"$lines_crc32": CHECKSUM, "made": self.made})
        lines = (json.dumps(row_of(*key, self.rows[key]), ensure_ascii=False) for key in sorted(self.rows))
        write_checked(path, f"{head}\n".encode(), "".join(f"{line}\n" for line in lines).encode())

    def get(self, picture: str, text: str = "") -> tuple[str, ...]:
        """The texts of a row, none where there is no such row."""
        found = self.rows.get((picture, text))
        if found is None and "@" in picture:
            found = self.rows.get((picture.rpartition("@")[0], text))
        return found or ()

    def texts(self, picture: str, text: str = "") -> tuple[str, ...]:
        """The texts of a row.

        Raises:
            UserError: there is no such row; it says how to make one.
        """
        found = self.get(picture, text)
        if not found:
            of = f" and text '{text[:80]}'" if text and picture else f"text '{text[:80]}'" if text else ""
            shown = f"picture '{picture}'" if picture else ""
            raise UserError(
                f"{self.where} has no texts of {shown}{of}: `clplat texts write --to {self.where}` with the "
                "same scenario adds what is missing"
            )
        return found

    @property
    def fingerprint(self) -> str:
        """A digest of the rows, whatever file they stand in."""
        digest = hashlib.sha256()
        for key in sorted(self.rows):
            digest.update(json.dumps([*key, *self.rows[key]]).encode())
        return digest.hexdigest()[:16]

    def said(self) -> dict[str, Any]:
        """What it is, for results: how many rows and texts, its fingerprint, how it was made."""
        counts = {"rows": len(self.rows), "texts": sum(map(len, self.rows.values()))}
        return {"fingerprint": self.fingerprint, **counts, "made": self.made}


def row_of(picture: str, text: str, texts: Sequence[str]) -> dict[str, Any]:
    """A row as plain data, without what it does not have.

    Example:
        >>> row_of("", "bag", ["it has a handle"])
        {'text': 'bag', 'texts': ['it has a handle']}
    """
    named = {name: value for name, value in (("picture", picture), ("text", text)) if value}
    return {**named, "texts": list(texts)}


def collected(rows: Iterable[tuple[str, Any]]) -> _Rows:
    """Rows by their names, checked.

    Args:
        rows: the place of each, for errors, and what stands there.

    Raises:
        UserError: something that is no row, or one that stands twice.
    """
    found: _Rows = {}
    for place, row in rows:
        key, texts = _checked(row, place)
        if key in found:
            raise UserError(f"{place}: picture '{key[0]}' with text '{key[1][:80]}' stands there twice")
        found[key] = texts
    return found


def _checked(row: Any, place: str) -> tuple[tuple[str, str], tuple[str, ...]]:
    if not isinstance(row, dict):
        raise UserError(f"{place} is no row of texts: it should be an object with picture, text and texts")
    if unknown := next((name for name in row if name not in ("picture", "text", "texts")), None):
        raise UserError(f"{place}: unknown field '{unknown}' (allowed: picture, text, texts)")
    picture, text, texts = row.get("picture") or "", row.get("text") or "", row.get("texts")
    texts = [texts] if isinstance(texts, str) else texts
    if not (isinstance(picture, str) and isinstance(text, str) and (picture or text)):
        raise UserError(f"{place} names no picture and no text")
    if not isinstance(texts, list) or not texts:
        raise UserError(f"{place}: 'texts' should be a text or a list of some, not {str(texts)[:80]!r}")
    for one in texts:
        if not isinstance(one, str) or not one.strip() or len(one) > LONGEST:
            raise UserError(f"{place}: a text should have 1 to {LONGEST} letters, not {str(one)[:80]!r}")
    return (picture, text), tuple(texts)


def _parquet(path: Path) -> Iterable[tuple[str, Any]]:
    with named_extras("a table of texts in Parquet"):
        import pyarrow as pa
        from pyarrow import parquet
    try:
        rows = parquet.read_table(path).to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"{path} is no Parquet: {' '.join(str(error).split())[:160]}") from None
    return ((f"{path} row {n}", row) for n, row in enumerate(rows))
