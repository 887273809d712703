"""The verdict of a StableSyncNet: what it looks at, where it comes from, and where the audio fits best."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch
from diffusers import AutoencoderTiny

from latentsync.audio.mel import syncnet_mel
from latentsync.checkpoint import WeightsCard, latent_signature, read_card, save_weights
from latentsync.config import load_config
from latentsync.errors import ConfigError, WeightsMismatchError
from latentsync.metrics.stable_sync import STRIDE, StableSync, SyncTrace, find_offset, load_stable_sync
from latentsync.models.codec import LatentCodec
from latentsync.models.syncnet import StableSyncNet, SyncNetConfig
from latentsync.places import BUILTIN_SYNCNET, BUILTIN_SYNCNET_CONFIG
from latentsync.recipe import SyncNetRecipe
from latentsync.types import SyncView
from tests.data.clips import talking_square
from tests.metrics.sync_networks import WHOLE_FACE, Knowing, write_whole_face

VIEW = SyncView(resolution=32)
AUDIO_12 = ((4, 4), (4, 4), (3, 3))  # for 39 mel frames
MODEL = StableSync(Knowing(), VIEW)


def small_codec() -> LatentCodec:
    torch.manual_seed(0)
    widths = (8,) * 4
    return LatentCodec(AutoencoderTiny(encoder_block_out_channels=widths, decoder_block_out_channels=widths,
                                       num_encoder_blocks=(1,) * 4, num_decoder_blocks=(1,) * 4)).eval()  # fmt: skip


# -- what it looks at -------------------------------------------------------------------------------------------------


def test_a_latent_network_sees_folded_latents():
    codec = small_codec()
    frames = torch.randint(0, 256, (2, 5, 3, 32, 32), dtype=torch.uint8)
    visual = StableSync(Knowing(), SyncView(lower_half=False, latent=True), codec).visual_input(frames)
    assert visual.shape == (2, 5 * 4, 4, 4)
    one = codec.encode(frames[1, 2][None].float() / 127.5 - 1)
    torch.testing.assert_close(visual[1, 8:12], one[0])


def test_a_pixel_network_sees_folded_pixels_between_minus_one_and_one():
    frames = torch.randint(0, 256, (2, 16, 3, 16, 32), dtype=torch.uint8)
    visual = MODEL.visual_input(frames)
    assert visual.shape == (2, 48, 16, 32)
    torch.testing.assert_close(visual[1, 7], frames[1, 2, 1].float() / 127.5 - 1)


@pytest.mark.parametrize("lower_half", [True, False])
def test_frames_of_any_size_are_brought_to_the_networks_and_cut_to_what_it_looks_at(lower_half):
    frames = np.zeros((3, 48, 48, 3), np.uint8)
    frames[:, 24:] = 200
    cropped = StableSync(Knowing(), SyncView(resolution=32, lower_half=lower_half)).crop(frames)
    assert cropped.shape == (3, 3, 16 if lower_half else 32, 32)
    assert (cropped[:, :, -12:] == 200).all()
    assert bool((cropped == 0).any()) is not lower_half


def test_a_network_on_the_whole_face_is_shown_the_whole_face(tmp_path):
    network = write_whole_face(tmp_path / "whole.safetensors")
    sync = load_stable_sync(tmp_path / "whole.safetensors")
    assert sync.view == SyncView(16, 32, lower_half=False, fps=Fraction(25))
    frames, _ = talking_square(0, 16)
    found = sync.embed_frames(sync.crop(frames)[None])
    with torch.no_grad():
        pixels = torch.from_numpy(frames).permute(0, 3, 1, 2).float() / 127.5 - 1
        assert torch.equal(found, network.visual_encoder(pixels.flatten(0, 1)[None]))


# -- files ------------------------------------------------------------------------------------------------------------


def test_a_card_that_does_not_state_them_means_the_lower_half_at_25_frames_a_second(tmp_path):
    card = replace(read_card(BUILTIN_SYNCNET), lower_half=None, fps=None)
    network = load_stable_sync(BUILTIN_SYNCNET).network
    save_weights(tmp_path / "old.safetensors", network.state_dict(), network.config, card)
    assert load_stable_sync(tmp_path / "old.safetensors").view == SyncView(16, 64, lower_half=True, fps=Fraction(25))


def test_the_built_in_network_is_of_the_recipe_that_is_named_as_its_own():
    recipe = load_config(BUILTIN_SYNCNET_CONFIG, SyncNetRecipe)
    sync = load_stable_sync(BUILTIN_SYNCNET, SyncNetConfig.from_dict(recipe.model), recipe.data.view)
    assert sync.view == load_stable_sync(BUILTIN_SYNCNET).view == recipe.data.view


def test_what_an_older_card_does_not_state_is_seen_of_the_network_where_only_whole_faces_fit(tmp_path):
    write_whole_face(tmp_path / "old.safetensors", lower_half=None, fps=None)
    assert load_stable_sync(tmp_path / "old.safetensors").view == SyncView(16, 32, lower_half=False)
    published = SyncView(16, 32)
    with pytest.raises(WeightsMismatchError, match="not made for the lower half of faces of 32 pixels"):
        load_stable_sync(tmp_path / "old.safetensors", view=published)


def test_of_a_published_file_the_caller_tells_what_it_looks_at(tmp_path):
    torch.save({"state_dict": StableSyncNet(WHOLE_FACE).state_dict()}, tmp_path / "published.pt")
    view = SyncView(16, 32, lower_half=False)
    assert load_stable_sync(tmp_path / "published.pt", WHOLE_FACE, view).view == view
    with pytest.raises(ConfigError, match="does not say which sync network it holds"):
        load_stable_sync(tmp_path / "published.pt")


@pytest.mark.parametrize(
    ("view", "named"),
    [
        (SyncView(16, 32, lower_half=True), "lower_half False, asked for was True"),
        (SyncView(16, 64, lower_half=False), "resolution 32, asked for was 64"),
        (SyncView(16, 32, lower_half=False, fps=Fraction(30)), "fps 25, asked for was 30"),
    ],
)
def test_a_file_that_looks_at_something_else_is_refused(tmp_path, view, named):
    write_whole_face(tmp_path / "whole.safetensors")
    with pytest.raises(WeightsMismatchError, match=named):
        load_stable_sync(tmp_path / "whole.safetensors", view=view)


def test_files_that_say_too_little_or_look_at_latents_are_refused(tmp_path):
    path = tmp_path / "sync.safetensors"
    write_whole_face(path, num_frames=None)
    with pytest.raises(WeightsMismatchError, match="does not say how many frames"):
        load_stable_sync(path)
    write_whole_face(path, num_frames=8)
    with pytest.raises(WeightsMismatchError, match="takes 48 channels, and 8 frames of pixels have 24"):
        load_stable_sync(path)
    codec = small_codec()
    card = WeightsCard("syncnet", resolution=256, num_frames=12, lower_half=False, latents=latent_signature(codec))
    on_latents = replace(WHOLE_FACE, audio_encoder=replace(WHOLE_FACE.audio_encoder, downsample_factors=AUDIO_12))
    save_weights(path, StableSyncNet(on_latents).state_dict(), on_latents, card)
    with pytest.raises(WeightsMismatchError, match="looks at latents"):
        load_stable_sync(path)
    assert load_stable_sync(path, codec=codec).view.latent
    other = small_codec()
    with torch.no_grad():
        next(other.autoencoder.encoder.parameters()).add_(1)
    with pytest.raises(WeightsMismatchError, match="the latents of another codec"):
        load_stable_sync(path, codec=other)


# -- where the audio fits best ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("shift", [-6, 0, 5])
def test_the_best_shift_of_cosines(shift):
    starts = np.arange(0, 60, 4)
    cosines = np.random.default_rng(0).uniform(0, 0.2, (len(starts), 60)).astype(np.float32)
    for window, start in enumerate(starts):
        if 0 <= start + shift < 60:
            cosines[window, start + shift] = 0.9
    found = find_offset(cosines, starts)
    assert found.frames == shift
    assert found.cosine == pytest.approx(0.9)
    assert found.confidence > 0.5


def test_a_shift_for_which_hardly_a_window_has_audio_does_not_win():
    """16 windows: at the outermost shift a single one is left, whose chance hit would otherwise be the best mean."""
    starts = np.arange(16)
    cosines = np.full((16, 16), 0.3, np.float32)
    cosines[starts, starts] = 0.6
    cosines[0, 15] = 1.0
    assert find_offset(cosines, starts).frames == 0
    wider = np.full((4, 60), 0.3, np.float32)  # all four windows have audio there: then it counts
    wider[np.arange(4), np.arange(4) + 15] = 1.0
    assert find_offset(wider, np.arange(4)).frames == 15


def trace_of(faces, samples):
    trace = SyncTrace(MODEL, syncnet_mel(samples[:, 0].astype(np.float32) / 32768))
    for face in faces:
        trace.add(face)
    return trace.finish()


@pytest.mark.parametrize("late", [0, 4, -3])
def test_a_trace_finds_where_the_audio_fits(late):
    frames, samples = talking_square(5, 120)
    fit = trace_of(frames, np.roll(samples, late * 640, axis=0))
    assert fit.offset.frames == late
    assert fit.windows == len(range(0, 120 - 16 + 1, STRIDE))
    right = trace_of(frames, samples)
    assert right.cosine > trace_of(frames, np.roll(samples, 60 * 640, axis=0)).cosine + 0.1


def test_no_window_reaches_across_a_missing_face():
    frames, samples = talking_square(5, 60)
    whole = trace_of(frames, samples)
    assert trace_of([None if 20 <= n < 30 else face for n, face in enumerate(frames)], samples).windows < whole.windows
    assert trace_of([face if n % 10 else None for n, face in enumerate(frames)], samples) is None
    assert trace_of(frames[:10], samples) is None
