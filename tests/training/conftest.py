"""What several tests of the training need."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from accelerate.state import AcceleratorState


@pytest.fixture
def fresh_accelerators() -> Iterator[None]:
    """Accelerators of another precision than those of the tests before and after: they share their state."""
    AcceleratorState._reset_state(True)
    yield
    AcceleratorState._reset_state(True)
