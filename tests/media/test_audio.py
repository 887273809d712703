"""Samples out of every kind of file, and the refusals."""

from __future__ import annotations

import hashlib
import wave

import av
import numpy as np
import pytest

from latentsync.errors import AudioError, NoAudioStreamError
from latentsync.media.audio import read_audio
from tests.golden import shared_file
from tests.media.synthetic import tone, write_clip, write_wav

# SHA-256 of demo1's int16 samples, as recorded with the published mel and Whisper numbers
DEMO1_SHA256 = "bd2d7e4c8f497497dddc02436484ebeb4011f2019626c7bdc2c60ac5b5b051b3"


def test_16_bit_mono_at_16_khz_comes_back_bit_for_bit(tmp_path):
    samples = np.random.default_rng(1).integers(-32_768, 32_767, (20_001, 1), dtype=np.int16, endpoint=True)
    waveform = read_audio(write_wav(tmp_path / "a.wav", samples))
    assert waveform.dtype == np.float32
    np.testing.assert_array_equal(waveform, samples[:, 0].astype(np.float32) / 32_768)


@pytest.mark.parametrize(
    ("name", "codec", "rate", "channels"),
    [
        ("a.wav", "pcm_s16le", 8_000, 1),
        ("a.wav", "pcm_s24le", 96_000, 2),
        ("a.wav", "pcm_f32le", 44_100, 2),
        ("a.mp3", "libmp3lame", 44_100, 2),
        ("a.m4a", "aac", 44_100, 2),
        ("a.flac", "flac", 48_000, 6),
        ("a.ogg", "libopus", 48_000, 2),
        ("a.ac3", "ac3", 48_000, 6),
    ],
)
def test_any_format_gives_the_sound_in_place(tmp_path, name, codec, rate, channels):
    """The same second of sound from every format, in place: no lead-in, no delay beyond 2 ms."""
    noise = np.random.default_rng(5).standard_normal(rate + 99)
    rumble = np.convolve(noise, np.ones(100) / 10, "valid")[:, None] * np.ones((1, channels))
    samples = np.rint(2000 * rumble).clip(-32_768, 32_767).astype(np.int16)
    waveform = read_audio(write_wav(tmp_path / name, samples, rate, codec))
    assert abs(len(waveform) - 16_000) <= 16_000 * 0.035  # codecs pad the end to a whole packet
    reference = read_audio(write_wav(tmp_path / "reference.wav", samples, rate))
    middle = slice(4000, 12_000)
    shifts = [np.dot(waveform[middle], np.roll(reference, shift)[middle]) for shift in range(-400, 401)]
    limit = 260 if codec == "ac3" else 32  # AC-3's 256 samples of lead-in are not marked in the file
    assert abs(int(np.argmax(shifts)) - 400) <= limit


def test_a_video_is_a_source_of_sound(tmp_path):
    clip = write_clip(tmp_path / "a.mkv", 25, sound=tone(1), sound_codec="pcm_s16le")
    np.testing.assert_array_equal(read_audio(clip), tone(1)[:, 0].astype(np.float32) / 32_768)


def test_refusals(tmp_path):
    with pytest.raises(NoAudioStreamError, match="no sound track"):
        read_audio(write_clip(tmp_path / "silent.mp4", 3))
    with wave.open(str(tmp_path / "zero.wav"), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(16_000)
    with pytest.raises(NoAudioStreamError, match="no sample"):
        read_audio(tmp_path / "zero.wav")
    (tmp_path / "text.wav").write_text("hello " * 100)
    with pytest.raises(AudioError, match="text.wav"):
        read_audio(tmp_path / "text.wav")


def test_damage_in_the_middle_is_named_and_at_the_end_passed_over(tmp_path):
    path = write_wav(tmp_path / "a.flac", tone(3, 44_100, 2), 44_100, "flac")
    with av.open(str(path)) as container:
        spans = [(packet.pos, packet.size) for packet in container.demux() if packet.size]
    whole = path.read_bytes()

    def with_damage(position, size):
        data = bytearray(whole)
        data[position : position + size] = b"\xff" * size
        path.write_bytes(data)

    position, size = spans[10]
    with_damage(position, size)
    with pytest.raises(AudioError, match=r"damaged at \d\.\d\d s"):
        read_audio(path)
    with_damage(spans[-1][0], spans[-1][1])
    assert len(read_audio(path)) > 16_000 * 2.5


def test_file_that_is_cut_short(tmp_path):
    path = write_wav(tmp_path / "a.flac", tone(3, 44_100), 44_100, "flac")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(AudioError, match=r"cut short: 1\.\d\d of 3\.00 s"):
        read_audio(path)


@pytest.mark.shared
def test_demo1_samples_are_the_recorded_ones():
    waveform = read_audio(shared_file("media/bytedance+LatentSync/assets/demo1_audio.wav"))
    samples = (waveform * 32_768).astype("<i2")
    assert hashlib.sha256(samples.tobytes()).hexdigest() == DEMO1_SHA256


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "seconds"),
    [
        ("openai+whisper/tests/jfk.flac", 11.0),
        ("facebookresearch+audiocraft/assets/bach.mp3", 10.031),
        ("rizkiarm+LipNet/evaluation/samples/GRID/bbaf2n.mpg", 2.978),
        ("Rudrabha+Wav2Lip/checkpoints/test.mov", 22.709),
    ],
)
def test_real_sounds(name, seconds):
    assert len(read_audio(shared_file(f"media/{name}"))) / 16_000 == pytest.approx(seconds, abs=0.002)
