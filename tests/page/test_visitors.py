"""Folders of visitors: apart from each other, and gone after a while."""

from __future__ import annotations

import os
import time

from latentsync.page.visitors import VisitorFolders


def test_every_job_has_a_folder_of_its_own_whatever_the_visitor_is_called(tmp_path):
    folders = VisitorFolders(tmp_path / "jobs", keep_seconds=100)
    names = ["a", "b", "../../etc", "", "x" * 1000, "\ud800"]
    jobs = [folders.new_job(name) for name in names + ["a"]]
    assert len(set(jobs)) == len(jobs)
    assert all(job.is_dir() and job.parents[1] == tmp_path / "jobs" for job in jobs)
    assert jobs[0].parent == jobs[-1].parent and jobs[0].parent != jobs[1].parent
    other = VisitorFolders(tmp_path / "jobs", keep_seconds=100)
    assert other.new_job("a").parent != jobs[0].parent  # not to be guessed from the visitor's name


def test_old_jobs_are_removed_and_young_ones_stay(tmp_path):
    folders = VisitorFolders(tmp_path / "jobs", keep_seconds=100)
    old, young, alone = folders.new_job("a"), folders.new_job("a"), folders.new_job("b")
    (old / "result.mp4").write_text("x")
    for job in (old, alone):
        os.utime(job, (time.time() - 200,) * 2)
    folders.clean()
    assert not old.exists() and young.exists()
    assert not alone.parent.exists()
