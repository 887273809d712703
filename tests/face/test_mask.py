import cv2
import numpy as np
import pytest

from latentsync.errors import ConfigError
from latentsync.face.mask import LARGEST, OUTLINES, check_picture, load_mask
from tests.golden import golden_arrays, shared_file

GENERATED_SHARE = {"mask": 0.4070, "mask2": 0.3375, "mask3": 0.1930, "mask4": 0.5845}


@pytest.mark.parametrize(("name", "share"), GENERATED_SHARE.items())
def test_share_of_the_canvas(name, share):
    mask = load_mask(name, 256)
    assert mask.shape == (1, 256, 256)
    assert mask.dtype == np.float32
    assert set(np.unique(mask)) == {0.0, 1.0}
    assert abs((1 - mask.mean()) - share) < 1e-4


def test_latent_mask_is_the_recorded_one():
    assert np.array_equal(
        load_mask("mask.png", 256)[0, ::8, ::8], golden_arrays("geometry/head")["latentmask_mask_256"]
    )


@pytest.mark.shared
@pytest.mark.parametrize("name", OUTLINES)
@pytest.mark.parametrize("resolution", [256, 512])
def test_equal_to_the_published_pictures(name, resolution):
    published = cv2.imread(str(shared_file(f"golden/masks/{name}_{resolution}.png")), cv2.IMREAD_GRAYSCALE)
    assert np.array_equal(np.rint(load_mask(name, resolution)[0] * 255), published)


def test_a_picture_of_the_user(tmp_path):
    image = np.full((64, 64), 255, dtype=np.uint8)
    image[40:] = 0
    path = tmp_path / "my mask é.png"
    path.write_bytes(cv2.imencode(".png", image)[1].tobytes())
    mask = load_mask(path, 64)
    assert np.array_equal(mask[0], image / np.float32(255))


def test_missing_foreign_and_oblong_pictures_are_named(tmp_path):
    foreign, oblong = tmp_path / "text.png", tmp_path / "oblong.png"
    foreign.write_text("no picture")
    oblong.write_bytes(cv2.imencode(".png", np.zeros((10, 20), np.uint8))[1].tobytes())
    for path in (tmp_path / "missing.png", foreign, oblong):
        with pytest.raises(ConfigError, match=path.name):
            load_mask(path, 256)


def test_a_strangers_picture_is_looked_at_before_it_is_decoded(tmp_path):
    """A header of 24 bytes is enough to say that it would take gigabytes."""
    path = tmp_path / "mask.png"
    good = cv2.imencode(".png", np.zeros((16, 16), np.uint8))[1].tobytes()
    path.write_bytes(good)
    check_picture(path)
    huge = good[:16] + (LARGEST + 1).to_bytes(4) * 2 + good[24:]
    jpeg = cv2.imencode(".jpg", np.zeros((16, 16), np.uint8))[1].tobytes()
    for content, words in ((huge, "4097 x 4097 px"), (jpeg, "not a PNG"), (good[:20], "not a PNG"), (b"", "not a PNG")):
        path.write_bytes(content)
        with pytest.raises(ConfigError, match=words) as refused:
            check_picture(path)
        assert refused.value.remedy
