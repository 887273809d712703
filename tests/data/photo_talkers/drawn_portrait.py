"""A drawn talker's still as the photograph of a person, with the features that a mesh without error would find."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from hashlib import sha256

import numpy as np

from latentsync.data.photo_talkers.portrait import FaceMarks, Portrait
from latentsync.data.talkers import pose as posing
from latentsync.data.talkers import skin
from latentsync.data.talkers.clip import make_talker
from latentsync.data.talkers.geometry import EYE_X, Articulation, eye_curves, landmarks, lip_curves, outline

_WIDTH, _HEIGHT, _UNIT = 225, 275, 55.0


@lru_cache
def drawn_portrait(identity: int = 3, opening: float = 0.0) -> Portrait:
    """A person who looks at the camera, as large as on a real portrait; ``opening`` shows the teeth."""
    clip = make_talker(identity, 4, 5, seconds=0.4, size=(_WIDTH, _HEIGHT))
    (shot,) = clip.shots
    (actor,) = shot.actors
    still = posing.PoseTrack(*(np.array([v]) for v in (_WIDTH / 2, 115.0, _UNIT, 0.0, 0.0, 0.0)))
    mouth = Articulation(np.array([opening]), *(np.zeros(1) for _ in range(5)))
    still_parts = {"closure": np.zeros(1), "gaze": np.zeros((1, 2)), "hand": np.zeros(1)}
    home = np.array([[_WIDTH / 2, 115.0]])
    posed = replace(actor, pose=still, mouth=mouth, home=home, **still_parts)
    shot = replace(shot, actors=(posed,), sway=np.zeros((1, 2)), _drawings=[])
    content = sha256(str(identity).encode()).hexdigest()[:32]
    return Portrait(content, shot.frame(0), _marks(posed, still.at(0)))


def _marks(actor, pose: posing.Pose) -> FaceMarks:
    shape = actor.identity.shape
    now = actor.mouth.at(0)

    def seen(points: np.ndarray) -> np.ndarray:
        return posing.turn(points, skin.relief(shape, points[..., 0], points[..., 1]), pose)

    x, y = (v.ravel() for v in np.meshgrid(np.linspace(-0.9, 0.9, 19), np.linspace(-1.2, shape.chin_y, 25)))
    height = np.sqrt(1 - (x / posing.POST) ** 2) * posing.POST + skin.relief(shape, x, y)
    points = np.stack([x, y], axis=-1)
    eyes = [np.stack(eye_curves(shape, side, 0.0, 9)) for side in (-1, 1)]
    lips = np.stack(lip_curves(shape, now, np.linspace(-1, 1, 11)))
    flat = landmarks(shape, Articulation(*(np.array([v]) for v in vars(now).values())), np.zeros(1))
    return FaceMarks(
        landmarks=seen(flat[0]),
        lips=seen(lips),
        lids=seen(np.stack(eyes)),
        irises=seen(np.array([(-EYE_X, 0.0), (EYE_X, 0.0)])),
        oval=posing.turn_outline(outline(shape, 36), pose),
        surface=np.column_stack([seen(points), height * pose.scale]),
    )
