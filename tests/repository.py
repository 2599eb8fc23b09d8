"""The repository under test: its location and its files."""

from __future__ import annotations

import subprocess
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent


def tracked(*patterns: str) -> list[Path]:
    """Return the existing files that git tracks and that match these patterns.

    ``*`` crosses folders, as in ``git ls-files``. In a pattern with ``/**/`` it does not, and ``/**/`` is any number of
    folders, none included: git by itself would demand one, and leave out the files at the top.
    """
    globs = [f":(glob){pattern}" if "/**/" in pattern else pattern for pattern in patterns]
    listed = subprocess.run(
        ["git", "ls-files", "-z", *globs], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    return [REPOSITORY / name for name in listed.stdout.split("\0") if name and (REPOSITORY / name).exists()]
