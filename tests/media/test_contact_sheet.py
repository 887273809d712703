"""Where pictures land on a sheet."""

from __future__ import annotations

import cv2
import numpy as np

from latentsync.media.contact_sheet import NAME_WIDTH, TILE, SheetRow, write_sheet


def test_pictures_stand_in_their_row_and_column(tmp_path):
    red, blue = (np.full((40, 40, 3), color, np.uint8) for color in ((200, 0, 0), (0, 0, 200)))
    write_sheet(
        tmp_path / "sheet.png", [SheetRow("source", [red, None, blue]), SheetRow("a long name of a row", [blue])]
    )
    sheet = cv2.imread(str(tmp_path / "sheet.png"))[..., ::-1]
    assert sheet.shape[1] == NAME_WIDTH + 3 * TILE

    def centre(row, column):
        return tuple(
            int(v) for v in sheet[row * (sheet.shape[0] // 2) + TILE // 2, NAME_WIDTH + int((column + 0.5) * TILE)]
        )

    assert [centre(0, column) for column in range(3)] == [(200, 0, 0), (255, 255, 255), (0, 0, 200)]
    assert centre(1, 0) == (0, 0, 200)
    assert (sheet[:, :NAME_WIDTH] < 100).any()  # the names
