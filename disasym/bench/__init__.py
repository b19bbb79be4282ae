"""The race between every way to run a model, and the stream that shows what each of them sustains: `run.bench`.

One idea a file: who runs (`contenders.py`), a contender in a process of its own (`child.py`) and the parent's hold on
it (`process.py`), the turns (`race.py`), what is kept of them (`rows.py`), the table and the picture (`screen.py`,
`plot.py`). Importing this package imports nothing else: a contender's start-up time is its own. docs/bench.md.
"""
