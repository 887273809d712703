"""One clip after the other, intact and broken: every figure has a number or a reason."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from latentsync.checkpoint import sha256_file
from latentsync.evaluation.clip import ClipScores, score_clip
from latentsync.evaluation.figures import FIGURES
from latentsync.evaluation.missing import Missing
from latentsync.evaluation.networks import EvaluationNetworks, load_sync_network, weight_hashes
from latentsync.evaluation.recordings import ClipFiles
from latentsync.evaluation.settings import RESULT, ROWS, SOURCE, TRUTH, EvaluationWeights, Setting
from tests.evaluation.world import SETTINGS, SYNCNET, networks, talker, write_talker

CLIP = talker(2)
NO_WEIGHTS = ("lse_c", "lse_d", "av_offset", "lpips_inside", "lpips_outside", "hyperiqa")


@pytest.fixture(scope="module")
def bare(tmp_path_factory) -> EvaluationNetworks:
    return replace(networks(tmp_path_factory.mktemp("none")), stable_sync=Missing("not loaded in this test"))


@pytest.fixture(scope="module")
def truth(tmp_path_factory) -> Path:
    return write_talker(tmp_path_factory.mktemp("truth") / "a.mp4", CLIP)


@pytest.fixture(scope="module")
def other(tmp_path_factory) -> Path:
    """The same person in another scene."""
    return write_talker(tmp_path_factory.mktemp("other") / "a.mp4", talker(3))


def score(bare, tmp_path, result, truth, source=None, setting=Setting.RECONSTRUCTION) -> ClipScores:
    files = ClipFiles("a", result, truth, source or truth)
    found = score_clip(files, bare, replace(SETTINGS, setting=setting), tmp_path / "stills.png")
    for row in ROWS:
        assert list(found.rows[row]) == list(FIGURES)
        for name, value in found.rows[row].items():
            assert value.reason if isinstance(value, Missing) else not np.isnan(value), name
    return found


def test_a_copy_of_the_truth_is_perfect(bare, tmp_path, truth) -> None:
    found = score(bare, tmp_path, truth, truth)
    row = found.rows[RESULT]
    assert row["psnr_inside"] == row["psnr_outside"] == float("inf")
    assert row["ssim_inside"] == pytest.approx(1)
    perfect = {"lmd": 0, "opening_correlation": 1, "opening_lag": 0, "temporal_error": 0, "sharpness": 1, "faces": 1}
    perfect |= {"sound_lag": 0, "sound_drift": 0, "picture_lag": 0, "picture_drift": 0}
    for name, best in perfect.items():
        assert row[name] == pytest.approx(best, abs=1e-6), name
    assert row["seam"] < 1e-3
    assert row["lip_color"] == row["smudge"] == 0
    assert row["join_ratio"] == found.rows[TRUTH]["join_ratio"] >= 1
    assert "same words" in row["leak"].reason
    for name in NO_WEIGHTS:
        assert "latentsync weights --for eval" in row[name].reason
    assert found.features["fid"][RESULT] == found.features["fid"][TRUTH]  # the reason
    assert found.remarks == ()
    assert (tmp_path / "stills.png").is_file()
    assert found.files[RESULT] == found.files[TRUTH]


def test_encoding_costs_fidelity_but_nothing_else(bare, tmp_path, truth) -> None:
    """Windows meet where the report says: at one place in all rows."""
    coarse = write_talker(tmp_path / "a.mp4", CLIP, quality=35)
    report = tmp_path / "a.report.json"
    report.write_text(json.dumps({"fps": 25, "windows": {"shared": 1, "joins": [15, 30, 45, 60]}}))
    found = score(bare, tmp_path, coarse, truth)
    row = found.rows[RESULT]
    assert row["join_ratio"] == pytest.approx(found.rows[TRUTH]["join_ratio"], abs=0.2)
    assert row["join_ratio"] < 1.2  # the strongest of all places would be 1 at least
    assert found.files["report of the result"] == sha256_file(report)
    assert 20 < row["psnr_inside"] < 45
    assert 0.7 < row["ssim_outside"] < 0.999
    assert row["temporal_error"] > 0.1
    assert row["opening_correlation"] == pytest.approx(1)
    assert row["lip_color"] < 3 and abs(row["smudge"]) < 1


def test_an_unchanged_source_leaks_and_a_truth_does_not(bare, tmp_path, truth, other) -> None:
    found = score(bare, tmp_path, other, truth, other, Setting.CROSS_SYNC_TRUTH)
    assert found.rows[RESULT]["leak"] == pytest.approx(found.rows[SOURCE]["leak"])
    assert found.rows[RESULT]["leak"] > 0.8
    assert found.rows[RESULT]["source_correlation"] == pytest.approx(1)
    assert abs(found.rows[TRUTH]["leak"]) < 1e-6
    assert found.rows[RESULT]["sharpness"] == pytest.approx(1)


def test_cross_sync_compares_frames_with_the_source_only(bare, tmp_path, truth, other) -> None:
    found = score(bare, tmp_path, other, truth, other, Setting.CROSS_SYNC)
    assert found.rows[RESULT]["psnr_outside"] == float("inf")
    assert found.rows[SOURCE]["ssim_inside"] == 1
    assert "another person" in found.rows[TRUTH]["psnr_inside"].reason
    assert "another person" in found.rows[RESULT]["lmd"].reason
    assert isinstance(found.rows[TRUTH]["opening_correlation"], float)
    assert isinstance(found.rows[TRUTH]["flicker"], (float, Missing))


@pytest.mark.parametrize(
    ("changed", "remark"),
    [
        ({"frames": 50}, "length: 2.00 instead of 3.00"),
        ({"size": 96}, "size: 96 x 96 instead of 160 x 160"),
        ({"fps": 30}, "fps: 30 instead of 25"),
    ],
)
def test_another_form_is_scored_with_a_remark(bare, tmp_path, truth, changed, remark) -> None:
    result = write_talker(tmp_path / "a.mp4", CLIP, **changed)
    found = score(bare, tmp_path, result, truth)
    assert any(remark in each for each in found.remarks)
    row = found.rows[RESULT]
    assert isinstance(row["psnr_inside"], float)
    assert row["psnr_inside"] > 15  # at another rate other moments are compared
    if "frames" in changed:
        assert row["length"] == pytest.approx(-1, abs=0.02)
        assert row["sound_length"] == pytest.approx(1, abs=0.02)
        assert row["opening_correlation"] > 0.99


def test_a_result_without_audio_keeps_its_frames(bare, tmp_path, truth) -> None:
    found = score(bare, tmp_path, write_talker(tmp_path / "a.mp4", CLIP, audio=False), truth)
    assert "no sound track" in found.rows[RESULT]["sound_lag"].reason
    assert any("no sound track" in remark for remark in found.remarks)
    assert found.rows[RESULT]["psnr_inside"] > 40
    assert found.rows[RESULT]["opening_correlation"] > 0.99


def test_a_result_without_a_face_keeps_what_needs_none(bare, tmp_path, truth) -> None:
    found = score(bare, tmp_path, write_talker(tmp_path / "a.mp4", CLIP, faces=False), truth)
    row = found.rows[RESULT]
    assert "no face" in row["opening_correlation"].reason
    assert "no face" in row["lmd"].reason
    assert row["sound_lag"] == 0
    assert row["psnr_outside"] > 40  # where the truth's face is


def test_where_no_face_is_found_no_sync_is_scored(bare, tmp_path, truth) -> None:
    with_sync = replace(bare, stable_sync=load_sync_network(SYNCNET, None))
    found = score(with_sync, tmp_path, write_talker(tmp_path / "a.mp4", CLIP, faces=False), truth)
    for name in ("stablesyncnet_cosine", "stablesyncnet_confidence", "stablesyncnet_offset"):
        assert "no face" in found.rows[RESULT][name].reason
        assert isinstance(found.rows[TRUTH][name], float)


def test_all_that_is_read_is_hashed(bare, tmp_path, truth) -> None:
    result = write_talker(tmp_path / "a.mp4", CLIP)
    files = score(bare, tmp_path, result, truth).files
    assert set(files) == {RESULT, TRUTH, SOURCE, f"faces of the {RESULT}", f"faces of the {TRUTH}"}
    assert files[f"faces of the {RESULT}"] == sha256_file(result.with_suffix(".npz"))
    config, mask = tmp_path / "sync.yaml", tmp_path / "own.png"
    config.write_text("a: 1")
    mask.write_bytes(b"2")
    known = EvaluationWeights(tmp_path, SYNCNET, config)
    hashes = weight_hashes(replace(SETTINGS, mask=str(mask)), known)
    assert hashes == {path.name: sha256_file(path) for path in (SYNCNET, config, mask)}
    assert set(weight_hashes(SETTINGS, known)) == {SYNCNET.name, config.name}


def test_a_file_that_is_no_video(bare, tmp_path, truth) -> None:
    (tmp_path / "a.mp4").write_text("words")
    found = score(bare, tmp_path, tmp_path / "a.mp4", truth)
    assert all("unreadable" in value.reason for value in found.rows[RESULT].values())
    assert isinstance(found.rows[TRUTH]["faces"], float)


def test_a_file_that_is_damaged_in_the_middle(bare, tmp_path, truth) -> None:
    result = write_talker(tmp_path / "a.mp4", CLIP)
    content = bytearray(result.read_bytes())
    edge = len(content) // 6
    content[edge:-edge] = bytes(len(content) - 2 * edge)
    result.write_bytes(content)
    row = score(bare, tmp_path, result, truth).rows[RESULT]
    assert any(isinstance(value, Missing) and "a.mp4" in value.reason for value in row.values())


def test_files_that_are_not_there(bare, tmp_path, truth) -> None:
    found = score(bare, tmp_path, None, truth)
    assert all("no file of this name" in value.reason for value in found.rows[RESULT].values())
    assert RESULT not in found.files
    found = score(bare, tmp_path, truth, None)
    assert "no file of this name" in found.rows[TRUTH]["faces"].reason
    assert isinstance(found.rows[RESULT]["faces"], float)
    assert isinstance(found.rows[RESULT]["psnr_inside"], Missing)


def test_a_damaged_file_of_faces_is_named(bare, tmp_path, truth) -> None:
    result = write_talker(tmp_path / "a.mp4", CLIP)
    result.with_suffix(".npz").write_text("words")
    assert "no file of faces" in score(bare, tmp_path, result, truth).rows[RESULT]["faces"].reason
