"""What could not be had: a network without its weights, an input that a file lacks, a figure that cannot be computed.

It is a value like any other. Whatever needs something that is missing is missing itself, for the same reason.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from latentsync.errors import LatentSyncError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Missing:
    """``reason``: one sentence for the reader of the table; empty where the fault is another row's, which says why."""

    reason: str = ""


def attempt(compute: Callable[..., T | Missing], *needs: object) -> T | Missing:
    """``compute(*needs)``; the first of the ``needs`` that is missing, or the message of the named error raised."""
    for need in needs:
        if isinstance(need, Missing):
            return need
    try:
        return compute(*needs)
    except LatentSyncError as error:
        return Missing(error.message)


def first(*options: T | Missing) -> T | Missing:
    """The first option that is there; if none is, the first reason given."""
    for option in options:
        if not isinstance(option, Missing):
            return option
    return Missing(next((each.reason for each in options if isinstance(each, Missing) and each.reason), ""))
