"""Jobs without a page around them."""

from __future__ import annotations

import pytest

from latentsync.errors import StoppedError
from latentsync.page.studio import Outcome, Wish
from tests.page.stage import StageNetworks


def test_only_the_visitor_who_asks_for_it_is_stopped(served, example, tmp_path):
    studio = served[1]
    StageNetworks.seconds = 0.1
    wish = Wish(example.video, example.audio, checkpoint=next(iter(studio.weights)))

    job = studio.perform(wish, tmp_path, "Ann")
    next(job)
    studio.stop("Ann")
    with pytest.raises(StoppedError):
        list(job)

    job = studio.perform(wish, tmp_path, "Ann")
    next(job)
    studio.stop("Ben")
    StageNetworks.seconds = 0.0
    assert isinstance(list(job)[-1], Outcome)
