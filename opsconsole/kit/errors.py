"""Errors that are shown as a sentence; ``opsconsole_worker.errors`` defines them."""

from opsconsole_worker.errors import OpsConsoleError, first_line

__all__ = ["OpsConsoleError", "first_line"]
