"""The shipped training files, and a user's own copies of published ones."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml

from latentsync.config import load_config
from latentsync.errors import ConfigError
from latentsync.models.syncnet import StableSyncNet, SyncNetConfig
from latentsync.models.unet import UNet3D, UNetConfig
from latentsync.recipe import SyncNetRecipe, UNetRecipe
from tests.golden import golden_json
from tests.models.published import published_shapes, shapes_of

CONFIGS = Path(__file__).parents[1] / "configs"
UNET_FILES = {  # name: resolution, pixel losses, TREPA weight, trainable modules
    "stage1": (256, False, 10, None),
    "stage1_512": (512, False, 10, None),
    "stage2": (256, True, 10, ["motion_modules.", "attentions."]),
    "stage2_512": (512, True, 10, ["motion_modules.", "attentions."]),
    "stage2_efficient": (256, True, 0, ["motion_modules.", "attn2."]),
}
SYNCNET_FILES = {  # name: frames, batch, validation samples, latent space, lower half
    "16_latent": (16, 120, 1200, True, False),
    "16_pixel": (16, 256, 2048, False, True),
    "16_pixel_attn": (16, 256, 2048, False, True),
    "25_pixel": (25, 64, 2048, False, True),
}


def test_every_shipped_file_loads_strictly() -> None:
    for path in (CONFIGS / "unet").glob("*.yaml"):
        UNetConfig.from_dict(load_config(path, UNetRecipe).model)
    for path in (CONFIGS / "syncnet").glob("*.yaml"):
        SyncNetConfig.from_dict(load_config(path, SyncNetRecipe).model)


@pytest.mark.parametrize("name", UNET_FILES)
def test_unet_files(name: str) -> None:
    recipe = load_config(CONFIGS / "unet" / f"{name}.yaml", UNetRecipe)
    run = recipe.run
    found = (recipe.data.resolution, run.pixel_space_supervise, run.trepa_loss_weight, run.trainable_modules)
    assert found == UNET_FILES[name]
    assert run.use_syncnet == run.pixel_space_supervise
    with torch.device("meta"):
        unet = UNet3D(UNetConfig.from_dict(recipe.model))
    assert shapes_of(unet) == published_shapes(f"unet_head_{name}")


@pytest.mark.parametrize("name", SYNCNET_FILES)
def test_syncnet_files(name: str) -> None:
    recipe = load_config(CONFIGS / "syncnet" / f"syncnet_{name}.yaml", SyncNetRecipe)
    data = recipe.data
    found = (data.num_frames, data.batch_size, data.num_val_samples, data.latent_space, data.lower_half)
    assert found == SYNCNET_FILES[name]
    with torch.device("meta"):
        network = StableSyncNet(SyncNetConfig.from_dict(recipe.model))
    assert shapes_of(network) == published_shapes(f"syncnet_head_{name}")


def test_what_stage_2_spells_out_is_what_a_shorter_file_gets(tmp_path: Path) -> None:
    (tmp_path / "short.yaml").write_text("model: {}\nrun: {trainable_modules: [motion_modules., attentions.]}\n")
    short, full = (load_config(path, UNetRecipe) for path in (tmp_path / "short.yaml", CONFIGS / "unet/stage2.yaml"))
    full.model = {}
    assert short == full


@pytest.mark.parametrize("name", ["stage2", "v1_second_stage"])
def test_a_copy_of_a_published_file_loads(tmp_path: Path, name: str) -> None:
    """With a model: block as that release wrote it, and the empty strings that its training sections have."""
    published = {
        "data": {
            "syncnet_config_path": "configs/syncnet/syncnet_16_pixel.yaml",
            "train_output_dir": "debug/unet",
            "train_fileslist": "",
            "train_data_dir": "",
            "audio_mel_cache_dir": "",
            "val_video_path": "assets/demo1_video.mp4",
            "val_audio_path": "assets/demo1_audio.wav",
            "batch_size": 8,
            "num_workers": 11,
            "num_frames": 16,
            "resolution": 256,
            "mask_image_path": "latentsync/utils/mask.png",
            "audio_sample_rate": 16000,
            "video_fps": 25,
        },
        "ckpt": {"resume_ckpt_path": "checkpoints/latentsync_unet.pt", "save_ckpt_steps": 5000},
        "run": {"guidance_scale": 1.0, "trepa_loss_weight": 10, "max_train_epochs": -1, "use_mixed_noise": True},
        "optimizer": {"lr": 1e-5, "scale_lr": False, "lr_scheduler": "constant", "lr_warmup_steps": 0},
        "model": golden_json(f"unet/{name}"),
    }
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(published))
    recipe = load_config(path, UNetRecipe)
    assert recipe.data.num_workers == 11
    assert UNetConfig.from_dict(recipe.model).block_out_channels == (32, 64, 64, 64)


@pytest.mark.parametrize(
    ("section", "key"), [("data", "resoluton"), ("run", "trepa_weight"), ("ckpt", "resume"), ("optimizer", "lr_")]
)
def test_a_typing_error_is_named(tmp_path: Path, section: str, key: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(f"base: {CONFIGS / 'unet' / 'stage2.yaml'}\n{section}: {{{key}: 1}}\n")
    with pytest.raises(ConfigError, match=rf"mine.yaml.*{section}.{key}"):
        load_config(path, UNetRecipe)


def test_a_typing_error_in_the_model_is_named(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(f"base: {CONFIGS / 'unet' / 'stage2.yaml'}\nmodel: {{use_motion_modul: true}}\n")
    with pytest.raises(ConfigError, match="use_motion_modul"):
        UNetConfig.from_dict(load_config(path, UNetRecipe).model)


@pytest.mark.parametrize("line", ["video_fps: 30", "audio_sample_rate: 44100", "audio_feat_length: [1, 3]"])
def test_a_rate_that_no_network_was_trained_at(tmp_path: Path, line: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(f"base: {CONFIGS / 'unet' / 'stage2.yaml'}\ndata: {{{line}}}\n")
    with pytest.raises(ConfigError, match=line.split(":")[0]):
        load_config(path, UNetRecipe)


def test_a_file_without_a_model(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("data: {resolution: 256}\n")
    with pytest.raises(ConfigError, match="model"):
        load_config(path, UNetRecipe)
