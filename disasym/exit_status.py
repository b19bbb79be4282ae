"""How a process ended, in words."""

import signal


def described(code: int) -> str:
    """An exit status as `subprocess` tells it: a crash is named by its signal."""
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"
