"""How the records of any stream are dealt into experiences, and what their galleries hold."""

from .dealing import Deal, by_tag, by_time
from .galleries import in_galleries

__all__ = ["Deal", "by_tag", "by_time", "in_galleries"]
