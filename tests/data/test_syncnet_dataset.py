"""Pairs: they honour the index, repeat exactly, keep negatives apart, and survive bad clips in bounded time."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from latentsync.audio.mel import mel_window, syncnet_mel
from latentsync.data.clip_dataset import MAX_ATTEMPTS, SampleKey
from latentsync.data.clip_reader import ArrayCache, FrameReader, MelReader, read_clip_frames
from latentsync.data.negatives import NegativeRule
from latentsync.data.scan import load_clips
from latentsync.data.syncnet_dataset import SyncNetDataset, collate_sync, jitter_colors
from latentsync.errors import DataError
from latentsync.media.audio import read_audio
from latentsync.types import SyncView
from tests.data.clips import write_corrupt_clip, write_talking_clips
from tests.media.synthetic import write_clip

VIEW = SyncView(resolution=32)
IMAGES = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (4, 3, 6, 8), dtype=np.uint8))


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Six good clips and one that opens but cannot be decoded, which is the last."""
    folder = tmp_path_factory.mktemp("clips")
    paths = write_talking_clips(folder, 6, n_frames=48)
    write_corrupt_clip(folder / "z.mp4", paths[0])
    return folder, load_clips(folder).clips


def pairs(world, clips=None, *, seed=7, keep_bytes=0, rule=None, **options) -> SyncNetDataset:
    folder, found = world
    mels = MelReader(ArrayCache(folder / "cache"))
    rule = rule or NegativeRule()
    return SyncNetDataset(clips or found[:6], VIEW, FrameReader(keep_bytes), mels, rule, seed, **options)


def audio_start(clip, mel: torch.Tensor) -> int | None:
    """The frame at which this window of audio starts in the clip."""
    whole = syncnet_mel(read_audio(clip.path))
    for start in range(clip.frames - VIEW.num_frames + 1):
        if np.array_equal(mel_window(whole, start), mel[0]):
            return start
    return None


def test_a_sample_is_what_its_label_says(world):
    data = pairs(world, rule=NegativeRule(other_clip_share=0.0))
    for epoch in range(4):
        for index in range(6):
            sample = data[SampleKey(epoch, index)]
            clip = data.clips[index]
            assert sample.origins[0].path == str(clip.path)
            start = sample.origins[0].start_frame
            expected = read_clip_frames(clip, start, 16)[:, 16:].transpose(0, 3, 1, 2)
            assert np.array_equal(sample.frames[0].numpy(), expected)
            heard = audio_start(clip, sample.mel[0])
            assert heard == start if sample.labels[0] else abs(heard - start) >= 5


def test_jittered_windows_are_the_same_ones_in_another_light(world):
    plain, jittered = pairs(world), pairs(world, color_jitter=0.3)
    for index in range(6):
        one, other, again = plain[index], jittered[index], jittered[index]
        assert one.origins == other.origins and one.labels == other.labels
        assert torch.equal(one.mel, other.mel)
        assert not torch.equal(one.frames, other.frames)
        assert torch.equal(other.frames, again.frames)


def test_half_of_the_samples_fit_and_every_clip_changes_sides(world):
    data = pairs(world)
    labels = np.array([[data[SampleKey(epoch, index)].labels[0] for index in range(6)] for epoch in range(2)])
    assert labels.mean(axis=1).tolist() == [0.5, 0.5]
    assert (labels[0] != labels[1]).all()
    assert np.mean([data[index].labels[0] for index in range(24)]) == 0.5


def test_negatives_may_come_from_other_clips(world):
    data = pairs(world, rule=NegativeRule(other_clip_share=1.0))
    negatives = [data[index] for index in range(12) if data[index].labels[0] == 0]
    for sample in negatives:
        (own,) = [clip for clip in data.clips if clip.content == sample.origins[0].clip_id]
        assert audio_start(own, sample.mel[0]) is None
        assert any(audio_start(clip, sample.mel[0]) is not None for clip in data.clips)


def test_several_windows_of_a_clip_all_fit_and_lie_apart(world):
    rule = NegativeRule(min_distance=6, far_distance=9, curriculum_steps=10, windows_per_clip=3)
    data = pairs(world, rule=rule)
    for index in range(6):
        sample = data[SampleKey(0, index, step=0)]
        starts = [origin.start_frame for origin in sample.origins]
        assert [audio_start(data.clips[index], mel) for mel in sample.mel] == starts
        assert min(abs(a - b) for k, a in enumerate(starts) for b in starts[:k]) >= 9
        assert sample.labels == (1.0, 1.0, 1.0)
    batch = collate_sync([data[0], data[1]])
    assert batch.frames.shape == (6, 16, 3, 16, 32)
    assert [origin.clip_id for origin in batch.origins] == [data.clips[k // 3].content for k in range(6)]


def test_shuffled_audio_never_fits(world):
    data = pairs(world, shuffled_audio=True)
    for index in range(12):
        sample = data[index]
        (own,) = [clip for clip in data.clips if clip.content == sample.origins[0].clip_id]
        assert audio_start(own, sample.mel[0]) is None


def test_samples_depend_on_seed_epoch_and_index_only(world):
    one, other = pairs(world), pairs(world, keep_bytes=10**8)
    keys = [SampleKey(epoch, index) for epoch in (0, 3) for index in range(6)]
    batch, again = collate_sync([one[key] for key in keys]), collate_sync([other[key] for key in reversed(keys)][::-1])
    assert torch.equal(batch.frames, again.frames)
    assert torch.equal(batch.mel, again.mel)
    assert batch.origins == again.origins
    assert batch.frames.shape == (12, 16, 3, 16, 32)
    assert batch.mel.shape == (12, 1, 80, 52)
    starts = [origin.start_frame for origin in batch.origins]
    assert starts[:6] != starts[6:]
    assert starts != [pairs(world, seed=8)[key].origins[0].start_frame for key in keys]


def test_a_bad_clip_is_replaced_by_the_same_other_one_every_time(world):
    _, clips = world
    data, fresh = pairs(world, clips), pairs(world, clips)
    first, again = data[6], data[6]
    assert first.origins[0].path != str(clips[6].path)
    assert [fault.path for fault in first.origins[0].faults] == [str(clips[6].path)]
    assert first.origins == again.origins == fresh[6].origins


def test_what_failed_before_does_not_decide_about_other_samples(world):
    """Processes of one run, and a run that goes on, see other samples first."""
    _, clips = world
    keys = [SampleKey(epoch, index) for epoch in range(12) for index in range(6)]

    def origins(keys):
        data = pairs(world, rule=NegativeRule(other_clip_share=1.0))
        whole = data._read_frames

        def half_damaged(clip, start, count):
            if start < 16 and clip.content in {clips[0].content, clips[1].content}:
                raise DataError("undecodable")
            return whole(clip, start, count)

        data._read_frames = half_damaged
        return {key: (data[key].origins, data[key].mel.sum().item()) for key in keys}

    forward, backward = origins(keys), origins(keys[::-1])
    assert forward == backward
    found = [sample.origins[0] for sample in (pairs(world)[key] for key in keys)]
    assert any(origin.start_frame < 16 and origin.clip_id == clips[0].content for origin in found)
    assert any(key.index == 0 and seen[0].clip_id == clips[0].content for key, (seen, _) in forward.items())


def test_a_window_of_a_damaged_clip_is_the_same_whether_clips_are_kept_or_not(world):
    _, clips = world
    for start in (0, 16, 32):
        results = []
        for reader in (FrameReader(), FrameReader(10**8)):
            try:
                results.append(reader(clips[6], start, 16).tolist())
            except DataError:
                results.append(None)
        assert results[0] == results[1]


def test_nothing_but_bad_clips_ends_with_the_reasons(world):
    folder, clips = world
    data = pairs(world, [clips[6]])
    with pytest.raises(DataError, match=f"{MAX_ATTEMPTS} clips in a row") as caught:
        data[0]
    assert "z.mp4" in caught.value.message


def test_silence_is_a_reason(tmp_path):
    write_clip(tmp_path / "mute.mp4", 48, size=(32, 32), sound=np.zeros((48 * 640, 1), np.int16))
    clips = load_clips(tmp_path).clips
    with pytest.raises(DataError, match="silent"):
        pairs((tmp_path, clips), clips)[0]


def test_short_sound_is_a_reason(tmp_path):
    audio = np.random.default_rng(0).integers(-9000, 9000, (30 * 640, 1)).astype(np.int16)
    write_clip(tmp_path / "brief.mp4", 48, size=(32, 32), sound=audio)
    clips = load_clips(tmp_path).clips
    with pytest.raises(DataError, match="too short: 30 frames with sound"):
        pairs((tmp_path, clips), clips)[0]


def test_same_named_clips_of_two_folders_keep_their_own_sound(tmp_path):
    for name, seed in (("a", 0), ("b", 50)):
        (path,) = write_talking_clips(tmp_path / name, 1, first_seed=seed)
        path.rename(path.with_name("clip.mp4"))
    mels = MelReader(ArrayCache(tmp_path / "cache"))
    first, second = load_clips(tmp_path).clips
    assert first.path.name == second.path.name
    for clip in (first, second, first):
        assert np.array_equal(mels(clip), syncnet_mel(read_audio(clip.path)))


def test_other_sizes_are_resized(world):
    data = pairs(world)
    data.view = SyncView(resolution=64, lower_half=False)
    assert data[0].frames.shape == (1, 16, 3, 64, 64)
    assert data[0].frames.dtype == torch.uint8


def test_no_strength_changes_nothing():
    assert torch.equal(jitter_colors(IMAGES, np.random.default_rng(1), 0.0), IMAGES)


def test_every_channel_is_relit_alike_in_all_images_and_order_is_kept():
    lit = jitter_colors(IMAGES, np.random.default_rng(1), 0.3)
    assert lit.shape == IMAGES.shape and lit.dtype == torch.uint8
    for channel in range(3):
        before, after = IMAGES[:, channel].flatten(), lit[:, channel].flatten()
        table = {}
        for old, new in zip(before.tolist(), after.tolist(), strict=True):
            assert table.setdefault(old, new) == new
        values = [table[old] for old in sorted(table)]
        assert values == sorted(values)
    assert not torch.equal(lit[:, 0], jitter_colors(IMAGES[:, [0, 0, 0]], np.random.default_rng(1), 0.3)[:, 1])


def test_draws_repeat_and_spread_as_asked():
    grey = torch.full((1, 3, 2, 2), 100, dtype=torch.uint8)
    draws = [jitter_colors(grey, np.random.default_rng(seed), 0.2).float().mean() / 100 for seed in range(400)]
    assert torch.equal(
        jitter_colors(grey, np.random.default_rng(5), 0.2), jitter_colors(grey, np.random.default_rng(5), 0.2)
    )
    logs = np.log(draws)
    # Gamma acts on 100 / 255, whose logarithm is -0.94; of the gain by channel three are averaged.
    expected = 0.2 * np.sqrt(1 + 0.94**2 + 0.25 / 3)
    assert abs(logs.mean()) < 0.05 and abs(logs.std() / expected - 1) < 0.15
