"""`disasym evaluate`: how good a model's scores are on labelled pairs, and whether that is evidence.

Which pairs (`part.py`), what the model says of them (`predictions.py`), what is counted (`levels.py`), the figures
(`discrimination.py`, `delong.py`), whether they prove anything (`evidence.py`), tables and report (`report.py`).
Runs without torch on an exported model.
"""

from disasym.evaluate.run import EvaluateOptions, Evaluation, evaluate

__all__ = ["EvaluateOptions", "Evaluation", "evaluate"]
