"""Where the console's own files are: in a checkout of the repository, or in an installed wheel."""

from __future__ import annotations

import sys
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
# In a checkout templates/ and docs/runbooks/ lie beside the package; the wheel carries both inside it.
INSTALLED = (PACKAGE / "templates").is_dir()
BASE_DIR = PACKAGE if INSTALLED else PACKAGE.parent


def default_var_dir() -> Path:
    """Return where the console writes when no setting says so: never inside an environment's packages."""
    return (Path.cwd() if INSTALLED else BASE_DIR) / "var"


def command_words() -> list[str]:
    """Return the words that start the console's command line in a process of its own, from any directory."""
    # -P: no module of the directory that the process starts in takes the place of one of ours.
    start = ["-P", "-m", "opsconsole"] if INSTALLED else [str(BASE_DIR / "manage.py")]
    return [sys.executable, *start]
