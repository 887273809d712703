import pytest

from latentsync.errors import ConfigError, WeightsMissingError
from latentsync.face.backends import face_alignment, load_detector, yunet

YUNET = ("yunet_n_dynamic.onnx", "face_landmarker.task")
FACE_ALIGNMENT = ("s3fd-619a316812.pth", "2DFAN4-cd938726ad.zip")


@pytest.fixture
def chosen(monkeypatch):
    """Back ends that load as their own names."""
    for module, name in ((yunet, "yunet"), (face_alignment, "face-alignment")):
        monkeypatch.setattr(module, "load", lambda weights_dir, device, threads, name=name: name)


@pytest.mark.parametrize(
    ("files", "device", "expected"),
    [
        (YUNET + FACE_ALIGNMENT, "cpu", "yunet"),
        (YUNET + FACE_ALIGNMENT, "cuda:0", "face-alignment"),
        (FACE_ALIGNMENT, "cpu", "face-alignment"),
        (YUNET, "cuda", "yunet"),
        (("face_detection_yunet_2023mar.onnx", "face_landmarker.task"), "cpu", "yunet"),
        (("s3fd-619a316812.pth", "2DFAN4-11f355bf06.pth.tar"), "cpu", "face-alignment"),
    ],
)
def test_auto_takes_what_is_there_in_the_stated_order(chosen, tmp_path, files, device, expected):
    for name in files:
        (tmp_path / name).touch()
    assert load_detector("auto", tmp_path, device) == expected


@pytest.mark.parametrize("name", ["auto", "yunet", "face-alignment"])
def test_missing_files_are_named_with_the_command(tmp_path, name):
    (tmp_path / "s3fd-619a316812.pth").touch()
    command = "--for inference" if name == "face-alignment" else "--face-detector"
    with pytest.raises(WeightsMissingError, match=command) as caught:
        load_detector(name, tmp_path, "cpu")
    message = str(caught.value)
    assert ("face_landmarker.task" in message) == (name != "face-alignment")
    assert ("2DFAN4" in message) == (name != "yunet")
    assert "s3fd" not in message


def test_an_unknown_name_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="yunet"):
        load_detector("haar", tmp_path, "cpu")
