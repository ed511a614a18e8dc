"""What a captioner and a language model are asked, in templates with ``{caption}`` and ``{text}``."""

from __future__ import annotations

import hashlib
import re

__all__ = ["CAPTION", "REWRITE", "digest", "filled"]

CAPTION = "Describe what this picture shows in one short sentence. Name its objects and their attributes."
REWRITE = """\
A picture shows: {caption}
This shall be changed: {text}
Describe the picture after the change in one short sentence. Keep what is not changed, add nothing else, and
do not mention the change itself. Answer with one line that begins with "Edited Description:"."""


def filled(template: str, **values: str) -> str:
    """The template with its values; what a value looks like does not matter.

    Example:
        >>> filled("{caption}, changed: {text}", caption="a {text} bag", text="is blue")
        'a {text} bag, changed: is blue'
    """
    return re.sub(r"\{(\w+)\}", lambda found: values.get(found[1], found[0]), template)


def digest(template: str) -> str:
    """Tells prompts apart in results and tables."""
    return hashlib.sha256(template.encode()).hexdigest()[:12]
