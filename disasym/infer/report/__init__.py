"""`report.html`: what a run found, for people to read. Self-contained pages without any request to a network.

`layers.py` makes one file of the images of a pair as soon as it is scored; `content.py` puts rows into the order of
reading, worst examination first; `pages.py` makes the pages from rows and images, one pair in memory at a time.
`page.html`, `parts.html`, `report.css` and `report.js` are what the pages are made of.
"""

from disasym.infer.report.content import REPORT
from disasym.infer.report.layers import layers_file
from disasym.infer.report.pages import remove_report, write_report

__all__ = ["REPORT", "layers_file", "remove_report", "write_report"]
