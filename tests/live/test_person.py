"""A prepared person: what is kept is what was found, and a stream of it has nothing left to encode."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from latentsync.errors import ConfigError, NoFaceError, OutputError, WeightsMismatchError
from latentsync.face.align import image_key
from latentsync.face.tracks import FaceTracks
from latentsync.inference.faces import tracking_settings
from latentsync.inference.latent_memory import FaceLatents, LatentMemory
from latentsync.inference.pipeline import LipsyncPipeline
from latentsync.live.person import analyse, load_person, save_person
from latentsync.media.video import VideoFile
from latentsync.media.writer import write_video
from tests.inference.world import MASK, DrawnVideo, Identity, KnownFaces
from tests.live.plain import OPTIONS, AwaitedAudio


class Encoder:
    """The latents of a face are its mean; ``encoded`` counts the faces."""

    def __init__(self, signature="a codec"):
        self.memory, self.encoded = LatentMemory(), 0
        self.latents = FaceLatents(self.memory, self.encode, torch.device("cpu"), torch.float32, lambda: signature)

    def encode(self, windows):
        for window in windows:
            for mask in (image_key(MASK), b""):
                self.memory.recall(window.face_keys, mask, lambda numbers, window=window: self._means(window, numbers))

    def _means(self, window, numbers):
        self.encoded += len(numbers)
        return torch.stack([torch.full((2, 1, 1), float(window.faces[number].mean())) for number in numbers])


def pipeline_of(encoder):
    return LipsyncPipeline(
        lambda options, on_step, kept: Identity(),
        lambda source, options: AwaitedAudio(source),
        MASK,
        latents=encoder.latents,
    )


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    folder = tmp_path_factory.mktemp("people")
    drawn = DrawnVideo(9, width=160, height=160, face=70.0, missing={4, 5, 6, 7, 8})
    source = folder / "in.mp4"
    write_video(source, drawn.frames(), drawn.info)
    video = VideoFile(source)
    encoder = Encoder()
    tracks = FaceTracks(KnownFaces(drawn), settings=tracking_settings(OPTIONS))
    person = analyse(video, tracks, pipeline_of(encoder), OPTIONS)
    person = save_person(person, source, folder / "anna.lsp", pipeline_of(encoder))
    return folder, person, encoder


def test_what_is_read_is_what_was_written(kept):
    folder, person, encoder = kept
    found = load_person(folder / "anna.lsp")
    assert found.card == person.card and found.known.keys() == person.known.keys() == set(range(9))
    for index, mine in person.known.items():
        theirs = found.known[index]
        assert (theirs.shot, theirs.reason, theirs.face is None) == (mine.shot, mine.reason, mine.face is None)
        assert len(theirs.faces) == len(mine.faces)
        if mine.face is not None:
            assert np.array_equal(theirs.face.landmarks, mine.face.landmarks) and theirs.face.score == mine.face.score
            assert np.array_equal(theirs.face.box, mine.face.box) and theirs.face.track_id == mine.face.track_id
    assert {index for index, each in person.known.items() if each.face is None} == {4, 5, 6, 7, 8}
    assert found.masked.keys() == person.masked.keys() and len(found.masked) == 4 == len(found.references)
    assert all(torch.equal(found.masked[key], person.masked[key]) for key in person.masked)


def test_another_pipeline_of_the_same_codec_encodes_nothing(kept):
    folder, _, _ = kept
    person, encoder = load_person(folder / "anna.lsp"), Encoder()
    pipeline = pipeline_of(encoder)
    person.give_latents(pipeline)
    again = analyse(person.video, person.tracks(), pipeline, OPTIONS)
    assert encoder.encoded == 0 and again.masked.keys() == person.masked.keys()


def test_latents_of_another_model_are_refused(kept):
    folder, _, _ = kept
    with pytest.raises(WeightsMismatchError, match=r"latents of another model: codec a codec at 256 px, here it is b"):
        load_person(folder / "anna.lsp").give_latents(pipeline_of(Encoder("b")))


def test_what_is_no_person_is_refused(kept, tmp_path):
    folder, person, encoder = kept
    with pytest.raises(OutputError, match="there already"):
        save_person(person, folder / "in.mp4", folder / "anna.lsp", pipeline_of(encoder))
    with pytest.raises(ConfigError, match="no name for a prepared person"):
        save_person(person, folder / "in.mp4", folder / "anna", pipeline_of(encoder))
    other = save_person(person, folder / "in.mp4", tmp_path / "b.lsp", pipeline_of(encoder))
    card = tmp_path / "b.lsp" / "card.json"
    (tmp_path / "b.lsp" / other.card.video).write_bytes(b"another video")
    with pytest.raises(ConfigError, match="is not the video that was analysed"):
        load_person(tmp_path / "b.lsp")
    faces = tmp_path / "b.lsp" / "faces.safetensors"
    whole = faces.read_bytes()
    faces.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ConfigError, match="is no prepared person"):
        load_person(tmp_path / "b.lsp")
    card.write_text(json.dumps({**json.loads(card.read_text()), "version": 2}))
    with pytest.raises(ConfigError, match="version 2"):
        load_person(tmp_path / "b.lsp")


def test_a_video_without_a_face_is_refused():
    drawn = DrawnVideo(4, width=160, height=160, face=70.0, missing=range(4))
    tracks = FaceTracks(KnownFaces(drawn), settings=tracking_settings(OPTIONS))
    with pytest.raises(NoFaceError, match="No frame of drawn.mp4 shows a face"):
        analyse(drawn, tracks, pipeline_of(Encoder()), replace(OPTIONS))
