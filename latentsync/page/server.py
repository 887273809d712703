"""Serving the page: its folder, its limits towards the network, and a clean end."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from starlette.middleware import Middleware

from latentsync.page.jobs import JobQueue
from latentsync.page.visitors import VisitorFolders

KEEP_SECONDS = 24 * 3600  # that files of visitors are kept


@contextmanager
def serving(
    studio: JobQueue,
    *,
    host: str = "127.0.0.1",
    port: int | None = None,
    share: bool = False,
    preset: str | None = None,
) -> Iterator[str]:
    """The page's address while the block runs. ``port`` None: the first free one from 7860.

    Everything that visitors send or get lies in one folder, which is removed at the end. Raises ``OSError`` for a
    port that is taken.
    """
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="latentsync_page_", ignore_cleanup_errors=True))
        stack.enter_context(_gradio_folder(folder))  # before its modules are imported and components made
        from latentsync.page.layout import build_page
        from latentsync.page.theme import CSS, THEME
        from latentsync.page.upload_guard import NoForeignFiles, no_downloads

        stack.enter_context(no_downloads())
        stack.callback(studio.close)
        folders = VisitorFolders(Path(folder) / "jobs", KEEP_SECONDS)
        stack.callback(folders.close)
        folders.keep_clean()
        blocks = build_page(studio, folders, KEEP_SECONDS, preset)
        stack.callback(blocks.close, verbose=False)
        _, local, public = blocks.launch(
            server_name=host,
            server_port=port,
            share=share,
            prevent_thread_lock=True,
            quiet=True,
            show_error=False,  # what may be shown is shown by the handlers
            inbrowser=False,
            max_file_size=studio.limits.bytes,
            run_history=False,
            ssr_mode=False,
            enable_monitoring=False,
            mcp_server=False,
            footer_links=["api"],
            theme=THEME,
            css=CSS,
            app_kwargs={"middleware": [Middleware(NoForeignFiles)]},
        )
        yield public or local


@contextmanager
def _gradio_folder(folder: str) -> Iterator[None]:
    """Have Gradio keep uploads and results in ``folder``."""
    before = os.environ.get("GRADIO_TEMP_DIR")
    os.environ["GRADIO_TEMP_DIR"] = folder
    try:
        yield
    finally:
        os.environ.pop("GRADIO_TEMP_DIR")
        if before is not None:
            os.environ["GRADIO_TEMP_DIR"] = before
