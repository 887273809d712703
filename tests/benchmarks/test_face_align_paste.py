from benchmarks.face_align_paste import measure


def test_alignment_and_paste_back_are_timed():
    figures = measure(320, 240, face=90, resolution=64, frames=4, workers=1)
    assert figures["frame"] == "320x240"
    assert figures["frames_per_second"] > 0
    assert figures["cpu_ms_per_frame"] >= 0
