"""Synthetic talking people whose sound, mouth and landmarks are known exactly (``clip.make_talker``)."""
