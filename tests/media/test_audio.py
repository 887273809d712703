"""Samples out of every kind of file, and the refusals."""

from __future__ import annotations

import hashlib
import wave

import av
import numpy as np
import pytest

from latentsync.errors import AudioError, NoAudioStreamError
from latentsync.media.audio import audio_blocks, read_audio
from latentsync.media.speech_channel import AudioFindings
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


def test_damage_in_the_middle_is_silence_and_at_the_end_passed_over(tmp_path):
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
    findings = AudioFindings()
    waveform = read_audio(path, findings=findings)
    assert findings.gaps == 1 and abs(len(waveform) - 48_000) <= 2
    silent = slice(
        round(findings.first_gap * 16_000) + 50, round((findings.first_gap + findings.missing) * 16_000) - 50
    )
    assert not waveform[silent].any() and np.abs(waveform[: silent.start - 100]).max() > 0.1
    assert "missing at" in findings.notes(path)[0]
    with_damage(spans[-1][0], spans[-1][1])
    assert len(read_audio(path)) > 16_000 * 2.5


@pytest.mark.parametrize(
    ("suffix", "codec", "gap"), [(".mkv", "aac", 0.06), (".webm", "libopus", 1.3), (".ts", "aac", 0.5)]
)
def test_gaps_in_the_time_stamps_are_silence_of_the_same_length(tmp_path, suffix, codec, gap):
    whole, path = tmp_path / f"whole{suffix}", tmp_path / f"gap{suffix}"
    write_wav(whole, tone(3, 48_000), 48_000, codec)
    with av.open(str(whole)) as source, av.open(str(path), "w") as out:
        stream = out.add_stream_from_template(source.streams.audio[0])
        first = source.streams.audio[0].start_time * source.streams.audio[0].time_base
        for packet in source.demux(audio=0):
            if packet.size and not 1 <= packet.pts * packet.time_base - first < 1 + gap:
                packet.stream = stream
                out.mux(packet)
    findings = AudioFindings()
    waveform = read_audio(path, findings=findings)
    assert findings.gaps == 1 and abs(findings.missing - gap) < 0.03 and abs(findings.first_gap - 1) < 0.03
    assert abs(len(waveform) - len(read_audio(whole))) <= 16
    assert sum(len(block) for block in audio_blocks(path)) == len(waveform)
    middle = round((1 + gap / 2) * 16_000)
    assert np.abs(waveform[middle - 100 : middle + 100]).max() < 0.01 < np.abs(waveform[8000:15_000]).max()


@pytest.mark.parametrize(("value", "words"), [(np.nan, "no numbers"), (np.inf, "no numbers"), (-30_000.0, "30000")])
@pytest.mark.parametrize("channels", [1, 2])
def test_values_that_are_no_audio_are_named_with_their_second(tmp_path, value, words, channels):
    samples = (tone(2, 16_000, channels) / 32_768).astype(np.float32)
    samples[20_000, channels - 1] = value
    path = tmp_path / "a.wav"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("pcm_f32le", rate=16_000, layout="mono" if channels == 1 else "stereo")
        frame = av.AudioFrame.from_ndarray(samples.reshape(1, -1), "flt", stream.layout.name)
        frame.sample_rate = 16_000
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    with pytest.raises(AudioError, match=f"at 1.25 s .*{words}"):
        read_audio(path)


def speech_like(seconds, rate):
    noise = np.random.default_rng(4).standard_normal(round(seconds * rate))
    return np.rint(3000 * np.convolve(noise, np.hanning(9) / 4, "same") * (np.arange(len(noise)) > rate / 2)).astype(
        np.int16
    )


@pytest.mark.parametrize(
    ("channels", "words", "taken"),
    [
        (lambda x, rest: [x, -x], "opposite phase", 0),
        (lambda x, rest: [x // 2, -x], "opposite phase: the mouth follows the right", 1),
        (lambda x, rest: [x, np.roll(x, 20)], "late", 0),
        (lambda x, rest: [-np.roll(x, 9), x], "late", 0),
        (lambda x, rest: [x, x], "", None),
        (lambda x, rest: [x, rest], "", None),
        (lambda x, rest: [x + rest // 4, x - rest // 8], "", None),
        (lambda x, rest: [x, 0 * x], "", None),
        (lambda x, rest: [rest, rest, x, 0 * x, rest, -rest], "centre", 2),
        (lambda x, rest: [x, x, 0 * x, 0 * x, rest, rest], "", None),
    ],
)
def test_the_channel_that_the_speech_is_in(tmp_path, channels, words, taken):
    rate = 48_000
    x = speech_like(2, rate)
    rest = np.random.default_rng(9).integers(-4000, 4000, len(x), dtype=np.int16)
    samples = np.stack(channels(x, rest), axis=1).astype(np.int16)
    path = write_wav(tmp_path / "a.wav", samples, rate)
    findings = AudioFindings()
    waveform = read_audio(path, findings=findings)
    assert words in findings.channel and bool(words) == bool(findings.channel)
    if taken is None:
        expected = read_audio(path, as_published=True)
    else:
        expected = read_audio(write_wav(tmp_path / "b.wav", samples[:, [taken]], rate))
    np.testing.assert_array_equal(waveform, expected)


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
