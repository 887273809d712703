"""Which Python packages the parts of this program need besides its core, and the command that installs them.

The requirement files say it once: pyproject.toml makes the core and the extras of a wheel of them. A checkout reads
these two, an installed program the metadata of its wheel.
"""

from __future__ import annotations

import re
import shlex
import sys
import tomllib
from importlib import metadata

from latentsync.errors import PackageMissingError
from latentsync.places import INSTALLED, ROOT

NAME = "latentsync"


def requirements(extra: str = "") -> list[str]:
    """Lines such as 'gradio>=6.0' of an ``extra``, '' for the core."""
    if not INSTALLED:
        lines = [line for file in _files(extra) for line in (ROOT / file).read_text(encoding="utf-8").splitlines()]
        return [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    found = []
    for line in metadata.requires(NAME) or []:
        requirement, _, condition = line.partition(";")
        named = re.search(r"""extra == ["']([\w-]+)["']""", condition)
        if (named[1] if named else "") == extra:
            rest = re.sub(r"""(^| and )\s*extra == ["'][\w-]+["']""", "", condition.strip())
            found.append(f"{requirement.strip()}; {rest}" if rest else requirement.strip())
    return found


def install_command(extra: str = "") -> str:
    """The command, in backticks, that installs what ``extra`` needs into the environment of this program."""
    if INSTALLED:
        what = shlex.quote(f"{NAME}[{extra}]" if extra else NAME)
        return f"`python -m pip install {what}`"
    files = " ".join(f"-r {shlex.quote(str(ROOT / file))}" for file in _files(extra))
    return f"`python -m pip install {files}`"


def package_missing(what: str, extra: str, error: ImportError) -> PackageMissingError:
    """The error to raise where ``what`` needs a package of an ``extra`` that cannot be imported."""
    first = error.__cause__ if isinstance(error.__cause__, ImportError) else error  # fsspec says it in its own words
    name = (first.name or "").partition(".")[0]
    absent = isinstance(first, ModuleNotFoundError) and name
    which = f"the package {name}, which is not installed in {sys.prefix}" if absent else f"one that fails: {error}"
    return PackageMissingError(f"{what} needs {which}.", remedy=f"Run {install_command(extra)}.")


def _files(extra: str) -> list[str]:
    """The requirement files of an ``extra``, as pyproject.toml has them."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    hook = project["tool"]["hatch"]["metadata"]["hooks"]["requirements_txt"]
    files: list[str] = hook["optional-dependencies"][extra] if extra else hook["files"]
    return files
