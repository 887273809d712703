"""Faces in frames: finding, following, aligning, pasting back. Frames come in as values; no video is opened here."""
