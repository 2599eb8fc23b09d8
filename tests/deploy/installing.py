"""Installs the wheel into environments of its own, and runs commands there."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

from tests.conftest import OURS

PIP = """#!/bin/sh
exec {python} -m pip --python {folder}/bin/python "$@"
"""


def run(folder: Path, *command: str, **variables: str) -> str:
    """Run a command in a folder, without the tests' settings, and return its output."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
    ended = subprocess.run(
        command, cwd=folder, env=environ | variables, capture_output=True, text=True, timeout=180, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def make_environment(folder: Path) -> Path:
    """Make a virtual environment that sees the requirements of the test environment; return its folder of programs."""
    venv.create(folder, with_pip=False)
    [packages] = folder.glob("lib/python3*/site-packages")
    (packages / "requirements.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    pip = folder / "bin" / "pip"
    pip.write_text(PIP.format(python=sys.executable, folder=folder))
    pip.chmod(0o755)
    return folder / "bin"
