"""`disasym reproduce`: tables 1 and 2 and figures 2 and 3 of the paper, on one's own data.

What is told (`options.py`), which women train and test (`study.py`), every training run (`plan.py`), one of them
(`cell.py`), how long it takes (`timing.py`), figures from what is finished (`results.py`), tables, plots and report
(`tables.py`, `plots.py`, `panels.py`, `report.py`). `run.py` ties them together; it may be killed at any time.
"""

from disasym.reproduce.options import ReproduceOptions
from disasym.reproduce.run import Reproduced, plan, reproduce

__all__ = ["ReproduceOptions", "Reproduced", "plan", "reproduce"]
