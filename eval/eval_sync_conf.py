"""Sync confidence of videos: the command `latentsync sync-confidence`."""

from latentsync.__main__ import run

if __name__ == "__main__":
    run("sync-confidence")
