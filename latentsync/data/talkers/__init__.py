"""Synthetic talking people whose audio, mouth and landmarks are known exactly (``clip.make_talker``)."""
