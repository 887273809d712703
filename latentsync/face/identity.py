"""Who is who: the people of a video, each with a number that stays theirs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from latentsync.types import FaceObservation, Frame


@dataclass(frozen=True, slots=True)
class PeopleFrame:
    """A frame with the face of every person that it shows. ``shot`` counts from 0.

    ``faces``: number of the person -> the face. The numbers count from 0 in the order in which people appear, and a
    person keeps theirs through the whole video. ``FaceObservation.track_id`` is another number: that of one unbroken
    track.
    """

    frame: Frame
    faces: Mapping[int, FaceObservation]
    shot: int
