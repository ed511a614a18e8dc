"""One page per sweep: `report.html` shows the question, the answer and how to repeat it.

The page is one file without a network: styles, figures and pictures are inside it.
"""

from clplat.report.export import write_tables
from clplat.report.figure.draw import draw, save_figure
from clplat.report.page import write_report

__all__ = ["draw", "save_figure", "write_report", "write_tables"]
