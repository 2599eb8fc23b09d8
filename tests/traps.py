"""Pickles that leave a trace when somebody unpickles them."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any


class Trap:
    """An object whose pickle creates a file when it is read."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str, str]]:
        return open, (str(self.file), "w")


def pickled(file: Path) -> bytes:
    """Return a pickle that creates this file when it is read."""
    return pickle.dumps(Trap(file))
