"""Run Python in a process of its own, for tests of what is imported, killed or out of memory."""

import subprocess
import sys


def run_python(script: str, *arguments: object) -> str:
    """What the script prints; its standard error fails the test if it fails."""
    command = [sys.executable, "-c", script, *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()
