import cv2

from latentsync.media.threads import opencv_in_one_thread


def test_opencv_gets_its_threads_back_after_the_last_run():
    before = cv2.getNumThreads()
    cv2.setNumThreads(3)
    try:
        first, second = opencv_in_one_thread(), opencv_in_one_thread()
        with first:
            second.__enter__()
            assert cv2.getNumThreads() == 1
        assert cv2.getNumThreads() == 1  # the second run goes on
        second.__exit__(None, None, None)
        assert cv2.getNumThreads() == 3
    finally:
        cv2.setNumThreads(before)
