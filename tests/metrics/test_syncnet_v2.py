"""SyncNet v2: names, recorded numbers, and its file."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from latentsync.errors import WeightsMismatchError, WeightsMissingError
from latentsync.metrics.syncnet_v2 import SyncNetV2, load_syncnet_v2
from tests.golden import golden_arrays, relative_error, rule_input
from tests.models.published import on_meta, published_shapes, rule_filled, shapes_of

TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def network() -> SyncNetV2:
    return rule_filled(SyncNetV2)


def test_names_and_shapes() -> None:
    assert shapes_of(on_meta(SyncNetV2)) == published_shapes("syncnet_v2_eval")


@torch.inference_mode()
def test_lips(network: SyncNetV2) -> None:
    golden = golden_arrays("evaluation/syncnet_v2")
    frames = rule_input("syncnetv2_lip", (2, 3, 5, 224, 224)) * 64 + 128
    assert relative_error(network.lip_features(frames)[:, 0], golden["lip_feat"]) < TOLERANCE
    assert relative_error(network.embed_lips(frames)[:, 0], golden["lip_embed"]) < TOLERANCE


@torch.inference_mode()
def test_audio(network: SyncNetV2) -> None:
    golden = golden_arrays("evaluation/syncnet_v2")
    windows = rule_input("syncnetv2_aud", (2, 1, 13, 20))[:, 0] * 8
    assert relative_error(network.embed_audio(windows), golden["aud_embed"]) < TOLERANCE


@pytest.mark.shared
@torch.inference_mode()
def test_real_audio(network: SyncNetV2) -> None:
    from latentsync.audio.mfcc import mfcc
    from latentsync.media.audio import read_audio
    from tests.golden import shared_file

    spectra = mfcc(read_audio(shared_file("media/bytedance+LatentSync/assets/demo1_audio.wav")))
    embedding = network.embed_audio(torch.from_numpy(spectra[None, :, 40:60]).float())
    expected = golden_arrays("evaluation/syncnet_v2")["aud_embed_real_mfcc_cols40_60"]
    assert relative_error(embedding, expected) < TOLERANCE


@torch.inference_mode()
def test_a_run_of_frames_is_its_windows(network: SyncNetV2) -> None:
    frames = torch.randint(0, 256, (1, 3, 7, 224, 224), generator=torch.Generator().manual_seed(0)).float()
    run = network.embed_lips(frames)[0]
    windows = torch.cat([network.embed_lips(frames[:, :, i : i + 5])[0] for i in range(3)])
    assert run.shape == (3, 1024)
    assert relative_error(run, windows) < 1e-5


def test_the_published_file(network: SyncNetV2, tmp_path: Path) -> None:
    path = tmp_path / "syncnet_v2.model"
    torch.save(network.state_dict(), path)
    loaded = load_syncnet_v2(path)
    assert not loaded.training
    assert all(torch.equal(tensor, network.state_dict()[name]) for name, tensor in loaded.state_dict().items())


def test_an_old_file_has_no_batch_counts(network: SyncNetV2, tmp_path: Path) -> None:
    path = tmp_path / "syncnet_v2.model"
    table = {name: x for name, x in network.state_dict().items() if not name.endswith("num_batches_tracked")}
    torch.save(table, path)
    assert torch.equal(load_syncnet_v2(path).netfclip[3].bias, network.netfclip[3].bias)


@pytest.mark.parametrize("change", ["missing", "extra", "shape"])
def test_any_other_difference_is_refused(network: SyncNetV2, tmp_path: Path, change: str) -> None:
    table = dict(network.state_dict())
    if change == "missing":
        del table["netcnnlip.1.running_mean"]
    elif change == "extra":
        table["netcnnlip.99.weight"] = torch.zeros(1)
    else:
        table["netfclip.3.bias"] = torch.zeros(512)
    path = tmp_path / "syncnet_v2.model"
    torch.save(table, path)
    with pytest.raises(WeightsMismatchError, match="SyncNet v2"):
        load_syncnet_v2(path)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(WeightsMissingError):
        load_syncnet_v2(tmp_path / "syncnet_v2.model")
