"""The command `latentsync`: it finds the sub-command, which is imported then and no other.

``python -m latentsync`` is the same where the command is not on the path, as in a checkout.
"""

from __future__ import annotations

import signal
import sys
from importlib import import_module
from typing import NamedTuple, NoReturn

from latentsync.constants import VERSION
from latentsync.stream import exit_process
from latentsync.terminal import command_parser, report

WRONG_USAGE = 2  # argparse's exit code
SECTIONS = ("dub videos", "weights and this installation", "make data, train, measure")


class Command(NamedTuple):
    """``module`` in ``latentsync.cli`` has ``main(arguments) -> exit code``; ``extra``: of the packages it needs.

    ``politely``: what asks the process to end (of a service, a terminal that closes) is cleaned up after like Ctrl-C.
    """

    module: str
    section: int
    help: str
    extra: str = ""
    politely: bool = False


COMMANDS = {
    "dub": Command("dub", 0, "change the mouth in a video so that it speaks the given audio", politely=True),
    "dub-set": Command("dub_set", 0, "dub a folder of videos with the models loaded once"),
    "batch": Command("batch", 0, "dub a list of jobs; what is done is skipped, a kill loses nothing", politely=True),
    "scene": Command("scene", 0, "check a scene (who speaks when), and bring in those of other programs"),
    "people": Command("people", 0, "everybody in a video: when they are seen, and how to name one for --face"),
    "page": Command("page", 0, "the same in a browser, on this machine", "page", politely=True),
    "serve": Command("serve", 0, "the same for programs, over HTTP: a queue, keys, webhooks", "serve", politely=True),
    "live": Command("live", 0, "speak into a microphone and watch a prepared person say it", "live", politely=True),
    "weights": Command("weights", 1, "fetch the published weights, list what is there, bring in copies"),
    "licenses": Command("licenses", 1, "the licence of each weight file, and whether it allows commercial use"),
    "doctor": Command("doctor", 1, "what is wrong with this installation, each fault with its remedy"),
    "talkers": Command("talkers", 2, "draw clips of people who speak, with the truth about them"),
    "photo-talkers": Command("photo_talkers", 2, "make photographs of people speak, for training, with the truth"),
    "preprocess": Command("preprocess", 2, "make clips for training of a folder of videos", "data"),
    "data": Command("data", 2, "look at such clips, or make a manifest of them", "data"),
    "train": Command("train", 2, "train the U-Net or the sync network", "train"),
    "adapt": Command("adapt", 2, "make a model of one person out of minutes of video", "train"),
    "evaluate": Command("evaluate", 2, "score results against the truth: a page, JSON and CSV", "eval"),
    "sync-confidence": Command("sync_confidence", 2, "sync confidence of a video or a folder", "eval"),
    "fvd": Command("fvd", 2, "Frechet video distance between two folders", "eval"),
    "syncnet-accuracy": Command("syncnet_accuracy", 2, "accuracy of a sync network on its validation clips", "train"),
}


def run(name: str, arguments: list[str] | None = None) -> NoReturn:
    """Run a sub-command and end the process; without ``arguments`` those of this process."""
    command = COMMANDS[name]
    if command.politely:
        end_politely()
    try:
        code = import_module(f"latentsync.cli.{command.module}").main(arguments)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "latentsync":
            raise  # a fault of this program
        from latentsync.extras import package_missing

        code = report(package_missing(f"`latentsync {name}`", command.extra, error))
    exit_process(code)


def end_politely() -> None:
    """Have SIGTERM and a closed terminal end the process as Ctrl-C does; a signal that nohup ignores stays ignored."""
    for number in (getattr(signal, name, None) for name in ("SIGTERM", "SIGHUP")):  # the latter is not on Windows
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, signal.default_int_handler)


def overview() -> str:
    """What there is, by section."""
    lines = []
    for number, section in enumerate(SECTIONS):
        lines.append(f"\n{section}:")
        for name, command in COMMANDS.items():
            if command.section == number:
                lines.append(f"  {name:18}{command.help}" + (f"  [{command.extra}]" if command.extra else ""))
    return "\n".join([*lines, "", "[page]: needs that extra of the package. Each has --help."])


def main() -> NoReturn:
    """The entry point."""
    arguments = sys.argv[1:]
    if arguments and arguments[0] in COMMANDS:
        run(arguments[0], arguments[1:])
    parser = command_parser("", "Lip sync: dub videos, and train, measure and serve what does it.\n" + overview())
    parser.prog = parser.prog.strip()
    parser.add_argument("--version", action="version", version=f"latentsync {VERSION}")
    parser.add_argument("command", choices=COMMANDS, metavar="COMMAND", help="one of those above")
    parser.add_argument("arguments", nargs="*", metavar="ARGUMENTS")
    if not arguments:
        parser.print_help(sys.stderr)
        sys.exit(WRONG_USAGE)
    parser.parse_args(arguments)  # ends the process: help, the version, or what is wrong
    parser.error(f"the command comes first: {' '.join(arguments)}")


if __name__ == "__main__":
    main()
