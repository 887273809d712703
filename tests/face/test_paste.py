import cv2
import numpy as np
import pytest
from skimage.color import deltaE_ciede2000, rgb2lab

from latentsync.face.align import FaceAligner
from latentsync.face.mask import load_mask
from latentsync.face.paste import UNFITTED, FacePaster, paste_face
from latentsync.face.paste_settings import PasteSettings
from latentsync.face.similarity import invert
from latentsync.types import AlignedFace, ArrayFrame
from tests.face.drawn import placed, smooth_image


def scene(height: int, width: int, face_width: float, resolution: int, seed: int = 0) -> tuple[np.ndarray, AlignedFace]:
    """A frame with nothing finer than eight canvas pixels, and the face cut out of its middle."""
    landmarks = placed((width * 0.45, height * 0.45), face_width, degrees=7)
    aligner = FaceAligner(resolution)
    step = np.linalg.norm(aligner.matrix(landmarks)[:, :2], axis=0).min()
    frame = smooth_image(height, width, detail=max(8 / step, 8), seed=seed)
    return frame, aligner.align(ArrayFrame.of(frame), landmarks)


def keep_on_frame(face: AlignedFace, keep_mask: np.ndarray, frame: np.ndarray) -> np.ndarray:
    size = (frame.shape[1], frame.shape[0])
    return cv2.warpAffine(keep_mask[0], invert(face.matrix), size, flags=cv2.INTER_LINEAR, borderValue=1.0)


def psnr(actual: np.ndarray, expected: np.ndarray) -> float:
    error = np.mean((actual.astype(np.float64) - expected) ** 2)
    return float(10 * np.log10(255**2 / max(error, 1e-9)))


@pytest.mark.parametrize(
    ("height", "width", "face_width", "resolution"),
    [
        (1080, 1920, 90, 256),
        (1080, 1920, 190, 256),
        (1080, 1920, 420, 256),
        (1080, 1920, 420, 512),
        (2160, 3840, 300, 256),
        (2160, 3840, 900, 512),
    ],
)
def test_a_face_pasted_back_unchanged(height, width, face_width, resolution):
    frame, face = scene(height, width, face_width, resolution)
    keep_mask = load_mask("mask", resolution)
    pasted = paste_face(frame, face.pixels, face.matrix, keep_mask)
    keep = keep_on_frame(face, keep_mask, frame)
    assert np.array_equal(pasted[keep >= 0.5], frame[keep >= 0.5])
    figure = psnr(pasted[keep == 0], frame[keep == 0])
    print(f"{width}x{height}, face {face_width} px, canvas {resolution}: {figure:.1f} dB")
    assert figure >= 40


@pytest.mark.parametrize("name", ["mask", "mask2", "mask3", "mask4"])
@pytest.mark.parametrize("resolution", [256, 512])
def test_only_the_area_to_be_generated_changes(name, resolution):
    frame, face = scene(480, 640, 110, resolution)
    keep_mask = load_mask(name, resolution)
    noise = np.random.default_rng(0).uniform(-1, 1, face.pixels.shape).astype(np.float32)
    before = frame.copy()
    pasted = paste_face(frame, noise, face.matrix, keep_mask)
    keep = keep_on_frame(face, keep_mask, frame)
    assert np.array_equal(frame, before)
    assert np.array_equal(pasted[keep >= 0.5], frame[keep >= 0.5])
    assert (pasted[keep == 0] != frame[keep == 0]).any(axis=-1).mean() > 0.8


def shifted(pixels: np.ndarray) -> np.ndarray:
    offset = np.array([8, -5, 6], dtype=np.float32)[:, None, None]
    return np.clip(((pixels + 1) * 127.5 * 0.9 + offset) / 127.5 - 1, -1, 1).astype(np.float32)


def weights(paster: FacePaster, frame: np.ndarray, face: AlignedFace) -> np.ndarray:
    """(H, W) how much of the face is seen, in [0, 1]."""
    black, white = np.zeros_like(frame), np.ones_like(face.pixels)
    return paster.paste(ArrayFrame.of(black), white, face).pixels[..., 0] / 255


def seam_difference(paster: FacePaster, pasted: np.ndarray, frame: np.ndarray, face: AlignedFace) -> float:
    """Mean CIEDE2000 between result and frame over the area that changed."""
    seen = weights(paster, frame, face) > 0.05
    return float(deltaE_ciede2000(rgb2lab(pasted[seen]), rgb2lab(frame[seen])).mean())


@pytest.mark.parametrize("whole_canvas", [True, False])
def test_a_shifted_color_leaves_no_seam_and_does_not_flicker(whole_canvas):
    keep_mask = load_mask("mask", 256)
    paster = FacePaster(keep_mask)
    rng = np.random.default_rng(0)
    seams, levels = [], []
    clean, face = scene(540, 960, 190, 256)
    for _ in range(12):
        frame = np.clip(clean + rng.normal(0, 2, clean.shape), 0, 255).astype(np.uint8)
        face = FaceAligner(256).crop(ArrayFrame.of(frame), face.matrix)
        wrong = shifted(face.pixels)
        generated = wrong if whole_canvas else face.pixels * keep_mask + wrong * (1 - keep_mask)
        fit = paster.fit(generated, face, frame.shape)
        pasted = paster.paste(ArrayFrame.of(frame), generated, face, fit).pixels
        seams.append(seam_difference(paster, pasted, frame, face))
        levels.append((pasted.astype(np.float64) - frame)[weights(paster, frame, face) > 0].mean())
    print(f"seam {np.mean(seams):.2f}, over time {np.std(seams):.3f}")
    assert np.max(seams) <= 1.5
    assert np.std(seams) <= 0.3
    assert np.std(levels) <= 0.3
    uncorrected = paster.paste(ArrayFrame.of(frame), generated, face, UNFITTED).pixels
    assert seam_difference(paster, uncorrected, frame, face) > 3


def test_a_bar_in_front_of_the_mouth_is_left_alone():
    frame, face = scene(480, 640, 150, 256)
    bar = np.zeros(frame.shape[:2], dtype=bool)
    bar[:, 270:300] = True
    frame[bar] = (20, 200, 30)
    on_canvas = cv2.warpAffine(bar.astype(np.float32), face.matrix, (256, 256), flags=cv2.INTER_LINEAR)
    visible = 1 - cv2.dilate((on_canvas > 0).astype(np.float32), np.ones((3, 3), np.uint8))
    pasted = paste_face(frame, -face.pixels, face.matrix, load_mask("mask", 256), visible=visible)
    assert np.array_equal(pasted[bar], frame[bar])
    assert not np.array_equal(pasted[:, 240:265], frame[:, 240:265])
    half = paste_face(frame, -face.pixels, face.matrix, load_mask("mask", 256), visible=np.full_like(visible, 0.5))
    weaker = paste_face(frame, -face.pixels, face.matrix, load_mask("mask", 256), strength=0.5)
    assert np.array_equal(half, weaker)


@pytest.mark.parametrize("centre", [(0, 240), (640, 240), (320, 0), (320, 480), (0, 0), (-40, 500)])
def test_a_face_at_the_edge_of_the_frame(centre):
    frame = smooth_image(480, 640, 16)
    face = FaceAligner(256).align(ArrayFrame.of(frame), placed(centre, 150))
    keep_mask = load_mask("mask", 256)
    pasted = paste_face(frame, face.pixels, face.matrix, keep_mask, PasteSettings(match_color=False))
    keep = keep_on_frame(face, keep_mask, frame)
    assert np.array_equal(pasted[keep >= 0.5], frame[keep >= 0.5])
    inner = np.zeros(frame.shape[:2], dtype=bool)
    inner[8:-8, 8:-8] = True  # within a few pixels of the edge the grey beside the frame shines in
    assert psnr(pasted[inner], frame[inner]) > 40


def test_a_face_beside_the_frame_and_an_empty_mask_change_nothing():
    frame, face = scene(240, 320, 80, 256)
    away = face.matrix + [[0, 0, 9000], [0, 0, 0]]
    assert np.array_equal(paste_face(frame, face.pixels, away, load_mask("mask", 256)), frame)
    assert np.array_equal(paste_face(frame, -face.pixels, face.matrix, np.ones((1, 256, 256), np.float32)), frame)


def test_strength_goes_from_nothing_to_all():
    frame, face = scene(240, 320, 80, 256)
    settings, keep_mask = PasteSettings(match_color=False), load_mask("mask", 256)
    changes = []
    for strength in (0.0, 0.25, 0.5, 1.0):
        pasted = paste_face(frame, -face.pixels, face.matrix, keep_mask, settings, strength=strength)
        changes.append(np.abs(pasted.astype(int) - frame).sum())
    assert changes[0] == 0
    assert np.allclose(np.array(changes) / changes[-1], [0, 0.25, 0.5, 1], atol=0.01)


def test_the_border_is_soft_and_lies_inside():
    paster = FacePaster(load_mask("mask", 256), PasteSettings(feather=0.1))
    frame, face = scene(480, 640, 210, 256)
    alpha = weights(paster, frame, face)
    assert np.abs(np.diff(alpha, axis=0)).max() < 0.12
    assert alpha.max() == 1


def test_a_picture_of_something_else_is_not_recolored():
    frame, face = scene(480, 640, 150, 256)
    paster = FacePaster(load_mask("mask", 256))
    for code in (-0.6, 0.0, 0.6):
        fit = paster.fit(np.full_like(face.pixels, code), face, frame.shape).color
        assert abs(fit.gain - 1) < 0.02
        assert np.abs(fit.apply(np.full((3, 1), (code + 1) * 127.5)) - (code + 1) * 127.5).max() < 2
