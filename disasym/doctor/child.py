"""Questions answered in a process of their own, where a crash, a hang or a half-installed library is only a finding.

A question is a generator of dictionaries of plain values. Each is handed over at once, so that what was found before a
crash is kept, and the last thing known says how far it came.
"""

import importlib
import json
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from disasym.doctor.limited import run_limited
from disasym.subprocesses import described, python

START = "import json, sys; from disasym.doctor.child import answer; answer(sys.argv[1], json.loads(sys.argv[2]))"


@dataclass(frozen=True)
class Answer:
    """The facts that came back; `problem` is empty if the question was answered to its end."""

    facts: dict[str, Any] = field(default_factory=dict)
    problem: str = ""


def ask(question: str, arguments: dict[str, Any], seconds: float) -> Answer:
    """Run `module:function` of this package with keyword `arguments` in a new Python, for at most `seconds`."""
    ended = run_limited(python(START, question, json.dumps(arguments)), seconds)
    facts: dict[str, Any] = {}
    for line in ended.output.splitlines():
        try:
            facts.update(json.loads(line))
        except (ValueError, TypeError):  # the last line of a process that was stopped in the middle of it
            break
    problem = ended.problem.replace(os.path.basename(sys.executable), "it", 1)  # noqa: PTH119 - a name, not a path
    if not problem and ended.code:
        problem = f"it {described(ended.code)}"
    problem = facts.pop("problem", None) or problem
    if not problem and not facts.pop("done", False):
        problem = "it ended without an answer"
    facts.pop("done", None)
    return Answer(facts, problem)


def answer(question: str, arguments: dict[str, Any]) -> None:
    """The other side of `ask`: facts go to standard output, whatever libraries print goes to standard error."""
    facts = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def tell(fact: dict[str, Any]) -> None:
        facts.write(json.dumps(fact) + "\n")
        facts.flush()

    try:
        module, function = question.split(":")
        for fact in _facts(module, function, arguments):
            tell(fact)
        tell({"done": True})
    except Exception as error:  # any failure of what is examined is an answer
        tell({"problem": sentence(error)})


def sentence(error: BaseException) -> str:
    """An error in one line: our own as they stand, others with their kind."""
    from disasym.errors import DisasymError

    text = " ".join(str(error).split())
    if isinstance(error, DisasymError):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _facts(module: str, function: str, arguments: dict[str, Any]) -> Iterable[dict[str, Any]]:
    facts: Iterable[dict[str, Any]] = getattr(importlib.import_module(module), function)(**arguments)
    return facts
