"""One page a sweep: `report.html` says what was asked, what was found and how to repeat it.

The page is one file without a network: styles, figures and pictures are inside it.
"""

from clplat.report.build import write_report
from clplat.report.question import draw, save_question

__all__ = ["draw", "save_question", "write_report"]
