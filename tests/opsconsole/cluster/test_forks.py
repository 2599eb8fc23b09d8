"""Tests of what the supervisor loads for its forks."""

from __future__ import annotations

import subprocess
import sys

from tests.repository import REPOSITORY

LOADED = """
import sys
import django
django.setup()
from django.urls import reverse
from opsconsole.cluster import forks
forks.share_memory()
OFFERED = {"opsconsole.kit.addresses", "opsconsole.kit.display"}
for name, module in list(sys.modules.items()):
    app, *rooms = name.split(".")
    if app in {"alerts", "jobs", "opsconsole", "ratelimits"}:
        if {"admin", "api", "urls"} & {*rooms}:
            print(name)
        # It would read all pages, in each process that asks it.
        elif any(value is reverse for value in vars(module).values()) and name not in OFFERED:
            print(name)
"""


def test_cluster_reads_no_pages() -> None:
    """They take 21 MB, and alerts only name their addresses: ``addresses.of_list`` and ``of_row`` know them."""
    told = subprocess.run(
        [sys.executable, "-c", LOADED],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (told.stdout.split(), told.returncode) == ([], 0), told.stderr
