"""What a check found, and how it is shown."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum


class Grade(Enum):
    """How bad it is; the value is what a reader sees."""

    GOOD = "ok"
    LIMIT = "note"  # something does not work, or works slowly, that not everybody needs
    FAULT = "FAULT"


@dataclass(frozen=True, slots=True)
class Finding:
    """``text`` is one sentence; ``remedy`` names one command, in backticks, that mends it."""

    subject: str
    grade: Grade
    text: str
    remedy: str = ""

    def __str__(self) -> str:
        line = f"{self.grade.value:5} {self.subject}: {self.text}"
        return f"{line}\n      -> {self.remedy}" if self.remedy else line


Check = Callable[[], Iterable[Finding]]


def examine(checks: Mapping[str, Check]) -> list[Finding]:
    """What all ``checks`` find. One that fails itself is a fault of its subject, unless it lacks a
    package: those come first, and are a fault already."""
    findings: list[Finding] = []
    for subject, check in checks.items():
        try:
            findings += check()
        except Exception as error:  # noqa: BLE001  whatever is broken here, the other checks are worth their lines
            known = isinstance(error, ImportError) and any(each.grade is Grade.FAULT for each in findings)
            cause = f"cannot be examined ({type(error).__name__}: {error})."
            findings.append(Finding(subject, Grade.LIMIT if known else Grade.FAULT, cause))
    return findings
