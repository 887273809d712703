"""Do people keep their numbers? 100 drawn scenes of 2 to 4 people who cross, hide, leave, come back and change shots.

    python -m benchmarks.identity --output build/identity.json
    python -m benchmarks.identity --scenes 10 --first 50

The faces are the truth with noise, in no order and without names, so what is measured is who is who alone. Figures:

- swaps    faces of one person under the number of another one, a run of frames counting once
- right    share of the visible faces that have their person's own number, the first one that they were given
- worst    the same of the worst scene
- unnamed  share of the visible faces that have no number, because they touched another face from the start
- extra    numbers beyond one for each person
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.identity_scenes import Scene
from benchmarks.report import publish
from latentsync.face.tracks import FaceTracks, PeopleFrame

NEAR = 0.25  # face widths between a face and the truth that it is of


@dataclass(slots=True)
class SceneResult:
    """Counts of one scene; see the module."""

    visible: int = 0
    right: int = 0
    unnamed: int = 0
    swaps: int = 0
    extra: int = 0

    @property
    def share(self) -> float:
        """Of the visible faces that have the right number."""
        return self.right / self.visible


def name_people(scene: Scene) -> SceneResult:
    """Follow the people of a scene, and count."""
    result = SceneResult()
    owner: dict[int, int] = {}  # number -> the person who had it first
    own: dict[int, int] = {}  # person -> their first number
    wrong: set[tuple[int, int]] = set()  # (person, number) in the frame before
    for item in FaceTracks.given(scene.detections()).people(scene.frames()):
        now = set()
        for person, points in scene.truth(item.frame.index).items():
            result.visible += 1
            number = _number_at(item, points)
            if number is None:
                result.unnamed += 1
                continue
            first = owner.setdefault(number, person)
            mine = own.setdefault(person, number)
            result.right += first == person and mine == number
            if first != person:
                now.add((person, number))
        result.swaps += len(now - wrong)
        wrong = now
    result.extra = len(owner) - len(own)
    return result


def _number_at(item: PeopleFrame, points: np.ndarray) -> int | None:
    reach = NEAR * float(np.ptp(points[:, 0]))
    near = {
        number: float(np.abs(face.landmarks.mean(axis=0) - points.mean(axis=0)).max())
        for number, face in item.faces.items()
    }
    best = min(near, key=lambda number: near[number], default=None)
    return best if best is not None and near[best] < reach else None


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=100)
    parser.add_argument("--first", type=int, default=0, help="number of the first scene (0)")
    parser.add_argument("--output", type=Path, help="file for the figures (JSON)")
    options = parser.parse_args()
    results = []
    for number in range(options.first, options.first + options.scenes):
        results.append(name_people(Scene(number)))
        last = results[-1]
        if last.swaps or last.share < 0.98:
            print(f"scene {number}: {last}", flush=True)
    visible = sum(each.visible for each in results)
    figures = {
        "scenes": len(results),
        "faces": visible,
        "swaps": sum(each.swaps for each in results),
        "right": sum(each.right for each in results) / visible,
        "worst": min(each.share for each in results),
        "unnamed": sum(each.unnamed for each in results) / visible,
        "extra": sum(each.extra for each in results),
    }
    publish("identity", figures, output=options.output)


if __name__ == "__main__":
    main()
