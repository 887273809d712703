"""Faces in frames: finding, following, aligning, and pasting back. Frames come in as values; no file is decoded here."""
