"""A run of the data pipeline: from the settings to the account of what became of every hour."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import torch

from latentsync.atomic import write_text
from latentsync.config import save_config
from latentsync.errors import DataError, DeviceError, WeightsError, WeightsMissingError
from latentsync.face.backends import choose_detector
from latentsync.preprocess.clip_record import ManifestRow
from latentsync.preprocess.engine.account import StepAccount, account_by_step, account_table
from latentsync.preprocess.engine.flow import Flow
from latentsync.preprocess.engine.layout import SETTINGS_FILE, Layout, input_files
from latentsync.preprocess.engine.manifest import FileRecord, exclusive_run, output_error, recover
from latentsync.preprocess.engine.pools import CPU, GPU, LocalPool, Pools, RayPools, resources
from latentsync.preprocess.engine.progress import RunProgress, input_size
from latentsync.preprocess.engine.worker import ClipTask, FileTask, TaskResult, Worker, WorkerTask
from latentsync.preprocess.settings import PUBLISHED_SYNC, PreprocessSettings, check_settings
from latentsync.preprocess.steps.networks import LoadedNetworks, StepNetworks
from latentsync.preprocess.steps.sequence import Step, steps_of, wanted_steps

logger = logging.getLogger(__name__)

MakeNetworks = Callable[[PreprocessSettings, str], StepNetworks]  # from the device of a pool, "cpu" or "cuda"

_SHOWN_FAILURES = 3


@dataclass
class _Failures:
    """Clips on which a bug of ours, or of a library, showed."""

    found: list[tuple[str, str]] = field(default_factory=list)

    def add(self, task: WorkerTask, trace: str) -> None:
        logger.error("%s could not be processed; the run goes on.\n%s", task.name, trace)
        self.found.append((task.name, trace.strip().splitlines()[-1]))

    def check(self) -> None:
        if self.found:
            shown = "; ".join(f"{name}: {why}" for name, why in self.found[:_SHOWN_FAILURES])
            raise DataError(
                f"{len(self.found)} clips could not be processed because of an unexpected error: {shown}.",
                remedy="Everything else is done. The same command tries these again; please report the traces above.",
            )


def preprocess(settings: PreprocessSettings, make_networks: MakeNetworks = LoadedNetworks) -> list[StepAccount]:
    """Run the steps over ``input_dir`` as far as they are not done yet, and say what became of every hour.

    The input is only read. Raises ``ConfigError``; ``WeightsError`` if a step lacks its network, after the steps before
    it are done; ``DiskFullError`` and other errors of the output; ``DataError`` with the table of losses if not one
    clip is left, or if clips could not be processed for an unforeseen reason.
    """
    check_settings(settings)
    layout = Layout.of(settings.input_dir, settings.output_dir)
    settings = _with_whole_paths(settings, layout)
    steps, unavailable = _runnable(settings, make_networks(settings, CPU))
    failures = _Failures()
    try:
        for folder in (layout.scratch, *(layout.output_dir / step.name for step in steps)):
            folder.mkdir(parents=True, exist_ok=True)
        with exclusive_run(layout.manifest):
            recover(layout)
            save_config(settings, layout.manifest / SETTINGS_FILE)
            _run(settings, layout, steps, make_networks, failures)
            accounts = account_by_step(layout, steps)
        table = account_table(accounts)
        write_text(layout.manifest / "account.txt", table + "\n", errors="backslashreplace")  # names may be any bytes
    except OSError as error:
        raise output_error(layout.output_dir, error) from error
    logger.info("%s", table)
    failures.check()
    if unavailable is not None:
        done = layout.output_dir / steps[-1].name
        raise type(unavailable)(f"{unavailable.message} Everything before is done: {done}.", remedy=unavailable.remedy)
    if not accounts[-1].kept_clips:
        raise DataError(
            f"Not one clip of {accounts[0].clips} files is left.\n{table}",
            remedy="See which step dropped them; thresholds are in configs/preprocess.yaml, explained in docs/data.md.",
        )
    return accounts


def _with_whole_paths(settings: PreprocessSettings, layout: Layout) -> PreprocessSettings:
    """The settings with paths that mean the same in any working directory: that of a cluster's worker is not ours."""
    sync = settings.sync
    if sync.scorer != PUBLISHED_SYNC:
        sync = replace(sync, scorer=str(Path(sync.scorer).resolve()))
    return replace(
        settings,
        input_dir=str(layout.input_dir),
        output_dir=str(layout.output_dir),
        weights_dir=str(settings.weights.resolve()),
        sync=sync,
    )


def _runnable(settings: PreprocessSettings, networks: StepNetworks) -> tuple[tuple[Step, ...], WeightsError | None]:
    """The steps up to the first one whose network cannot be had, and why."""
    wanted, missing = wanted_steps(settings), networks.missing()
    for number, step in enumerate(wanted):
        if step.network in missing:
            lacking = [each for each in wanted if each.network in missing]
            parts = {f"{each.name}: {missing[each.network].message}" for each in lacking}
            unavailable = WeightsMissingError(
                f"These steps cannot run. {' '.join(sorted(parts))}", remedy=missing[step.network].remedy
            )
            logger.warning("%s", unavailable)
            return wanted[:number], unavailable
    return wanted, None


def _run(
    settings: PreprocessSettings,
    layout: Layout,
    steps: Sequence[Step],
    make_networks: MakeNetworks,
    failures: _Failures,
) -> None:
    files, n_bytes = input_size(layout.input_dir)
    logger.info("%d files, %.2f GB, in %s; results in %s.", files, n_bytes / 1e9, layout.input_dir, layout.output_dir)
    progress = RunProgress(files, n_bytes, steps[-1].name, lambda line: logger.info("%s", line))
    pools, sizes = _pools(settings, layout, partial(_make_worker, layout, settings, make_networks))
    on_gpu: set[str] = _gpu_networks(settings, steps) if sizes.get(GPU) else set()
    flow = Flow(
        layout=layout,
        steps=steps,
        all_steps=steps_of(settings),
        names=input_files(layout.input_dir),
        pool_of=lambda step: GPU if step is not None and step.network in on_gpu else CPU,
        most_open=2 * sum(sizes.values()) + 2,
        closed=progress.closed,
    )
    try:
        _drive(flow, pools, list(sizes), progress, failures, _make_worker(layout, settings, make_networks, CPU))
    finally:
        pools.close()


def _drive(
    flow: Flow, pools: Pools, names: Sequence[str], progress: RunProgress, failures: _Failures, recorder: Worker
) -> None:
    """Keep every worker busy until nothing is left; ``recorder`` writes down what cannot be done."""
    while True:
        for pool in names:
            while pools.has_room(pool) and (task := flow.next(pool)) is not None:
                pools.submit(pool, task)
        finished = pools.wait()
        if finished is None:
            return
        task, result = finished
        record = _checked(task, result, failures, recorder)
        if isinstance(task, FileTask) and isinstance(record, FileRecord):
            flow.file_done(task, record)
        elif isinstance(task, ClipTask) and isinstance(record, ManifestRow):
            progress.row(record)
            flow.clip_done(task, record)
        else:
            flow.give_up(task)


def _checked(
    task: WorkerTask, result: TaskResult, failures: _Failures, recorder: Worker
) -> FileRecord | ManifestRow | None:
    """The record of a task; None if it could not be done. Raises the error that ends the run."""
    if result.error is not None:
        raise result.error
    if result.crash:
        logger.error("%s takes its worker down: %s", task.name, result.crash)
        return recorder.refuse(task, "crash: it takes down every worker that opens it")
    if result.trace:
        failures.add(task, result.trace)
        return None
    return result.record


def _make_worker(layout: Layout, settings: PreprocessSettings, make_networks: MakeNetworks, pool: str) -> Worker:
    return Worker(layout, settings, make_networks(settings, "cuda" if pool == GPU else "cpu"))


def _pools(
    settings: PreprocessSettings, layout: Layout, make_worker: Callable[[str], Worker]
) -> tuple[Pools, dict[str, int]]:
    """The workers, and how many there are in each pool that has any."""
    engine = settings.engine
    if engine.workers == 0:
        on_gpu = settings.device != "cpu" and torch.cuda.is_available()
        return LocalPool(make_worker(GPU if on_gpu else CPU)), {CPU: 1}
    there = resources(engine.ray_address, engine.workers or os.cpu_count() or 1)
    if settings.device == "cuda" and not there[GPU]:
        raise DeviceError("There is no GPU for device=cuda.", remedy="Set device=auto or device=cpu.")
    sizes = {CPU: min(engine.workers or there[CPU], there[CPU])}
    if settings.device != "cpu" and there[GPU]:
        sizes[GPU] = there[GPU] * engine.workers_per_gpu
    logger.info("Workers: %s.", ", ".join(f"{count} on {pool.upper()}s" for pool, count in sizes.items()))
    return RayPools(sizes, engine.workers_per_gpu, make_worker, layout.manifest), sizes


def _gpu_networks(settings: PreprocessSettings, steps: Sequence[Step]) -> set[str]:
    """The networks of ``steps`` that run on a GPU where there is one."""
    networks = {step.network for step in steps} - {""}
    if "detector" in networks:
        name = choose_detector(settings.faces.detector, settings.weights, "cuda")
        networks -= {"detector"} if name == "yunet" else set()
    return networks
