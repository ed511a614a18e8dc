"""One page per sweep: `report.html` shows the question, the answer and how to repeat it.

The page is one file without a network: styles, figures and pictures are inside it.
"""

from clplat.report.build import write_report
from clplat.report.figure.draw import draw, save_figure

__all__ = ["draw", "save_figure", "write_report"]
