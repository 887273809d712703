"""Ten minutes of one GPU: everything about this product that only a GPU shows, in one call.

    python -m benchmarks.gpu_session --output out/gpu.jsonl
    python -m benchmarks.gpu_session --tables out/gpu.jsonl --document docs/gpu.md

Each step runs in a process of its own, is ended when it takes longer than it may, and adds a line of JSON to the file:
its status, its seconds and its rows of figures. A step that fails does not end the session. Called again with the same
file, the session goes on with the steps that are not done. No weights are needed: networks have the published sizes.
``--device cpu --smoke`` runs all steps in tiny sizes, in this process; its figures say nothing.
"""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path

from benchmarks.gpu import checks, flow, speed, training
from benchmarks.gpu.session import Context, Step, call_apart, call_here, run_session, step_command, write_rows
from benchmarks.gpu.tables import write_tables
from benchmarks.report import circumstances, use_device

MINUTES = 10.0
# In this order: what decides whether the rest means anything comes first, what takes longest last.
STEPS = (
    Step("probes", "Versions and probes", 40, checks.probes),
    Step("correctness", "Against the CPU in single precision", 150, checks.correctness),
    Step("peak_memory", "Peak memory of a denoising step", 60, checks.peak_memory),
    Step("small_cards", "Emulated cards", 90, checks.small_cards),
    Step("passes", "One guided evaluation of the U-Net", 60, speed.passes),
    Step("few_steps", "Generator by preset, and a student", 90, speed.few_steps),
    Step("attention", "Attention kernels, ms", 30, speed.attention),
    Step("host_work", "Work of the host for a batch, s", 40, flow.host_work),
    Step("pipeline", "From file to file", 120, flow.pipeline),
    Step("detector", "The face detector beside the generator", 60, flow.detector),
    Step("compiled", "torch.compile and CUDA graphs", 180, speed.compiled),
    Step("training", "Training steps", 90, training.training),
)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("out/gpu.jsonl"), help="of the lines (%(default)s)")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--smoke", action="store_true", help="tiny sizes, in this process")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="of the whole session (%(default)s)")
    parser.add_argument("--only", help="some of the steps, with commas: " + ", ".join(step.name for step in STEPS))
    parser.add_argument("--tables", type=Path, help="no session: the tables of an earlier one's file")
    parser.add_argument("--document", type=Path, help="with --tables: where they take the place of the last ones")
    parser.add_argument("--rows", type=Path, help=argparse.SUPPRESS)  # of one step, for the session itself
    options = parser.parse_args()
    options.only = options.only.split(",") if options.only else [step.name for step in STEPS]
    if not set(options.only) <= {step.name for step in STEPS}:
        parser.error(f"--only: choose of {', '.join(step.name for step in STEPS)}")
    return options


def main() -> None:
    options = parse_arguments()
    if options.tables is not None:
        write_tables(STEPS, options.tables, options.document)
        return
    context = Context(use_device(options.device), options.smoke)
    steps = [step for step in STEPS if step.name in options.only]
    if options.rows is not None:
        write_rows(steps[0], context, options.rows)
        return
    apart = partial(_call_apart, context)
    here = partial(_call_here, context)
    common = {"smoke": options.smoke, "circumstances": circumstances(str(context.device))}
    if not run_session(steps, options.output, 60 * options.minutes, here if options.smoke else apart, common):
        print(f"Not all steps are done; the same call goes on with the others. What there is: {options.output}")
        sys.exit(1)


def _call_apart(context: Context, step: Step, seconds: float) -> dict:
    return call_apart(step_command("benchmarks.gpu_session", step, context), seconds)


def _call_here(context: Context, step: Step, seconds: float) -> dict:
    return call_here(step, context)


if __name__ == "__main__":
    main()
