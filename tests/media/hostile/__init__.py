"""Files as an attacker would send them: name -> what it is given out for, and how it is made, in a moment, from little.

``HOSTILE[name].make(folder)`` writes the file (and what it points to) and returns its path. Each must be refused with a
named error or read within bounds; the lists must be refused, or they would show another file. ``uploads`` has some
that are made at a path.
"""

from tests.media.hostile import audio, frames, headers, lists  # noqa: F401  which fill the table
from tests.media.hostile.table import AUDIO, HOSTILE, LIST, VIDEO, Hostile

__all__ = ["AUDIO", "HOSTILE", "LIST", "VIDEO", "Hostile"]
