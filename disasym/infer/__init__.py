"""A folder of films in; rows, fates and pictures out: `infer(InferOptions(...))` is the whole of `disasym infer`.

Runs without torch when the engine does. One idea a file: which pairs there are (`jobs.py`), the stages a pair passes
(`stages.py`), what is written (`results.py`, `panels.py`), and the run that joins them (`run.py`).
"""

from disasym.infer.run import InferOptions, Summary, default_model, infer

__all__ = ["InferOptions", "Summary", "default_model", "infer"]
