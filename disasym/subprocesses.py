"""Other processes of this Python: the command that starts one, and how it ended, in words."""

import json
import os
import signal
import sys


def python(code: str, *arguments: str) -> list[str]:
    """The command of a Python that finds the modules which this one finds; `code` has `arguments` in sys.argv[1:]."""
    where = json.dumps([entry or os.getcwd() for entry in sys.path])  # noqa: PTH109 - as Python itself reads ""
    start = "import json, sys; sys.path[:] = json.loads(sys.argv.pop(1)); "
    return [sys.executable, "-c", start + code, where, *arguments]


def described(code: int) -> str:
    """An exit status as `subprocess` tells it: a crash is named by its signal."""
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"
