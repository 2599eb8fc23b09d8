"""Tests that a first visit stays light: a page with the style sheets and scripts that it names."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import pytest
from django.contrib.staticfiles import finders
from django.test import Client
from django.urls import reverse

from opsconsole.kit.durations import HOUR
from tests.factories import run

pytestmark = pytest.mark.django_db

# The limit is 200 kB; the rest is room for longer ids and words than those of tests.
MOST = 150 * 1024
SCRIPT = re.compile(r'<script src="/static/([^"?]+)"')
ASSET = re.compile(r'(?:href|src)="/static/([^"?]+)"')
OF_EVERY_PAGE = {
    "admin/js/theme.js",
    "admin/js/nav_sidebar.js",
    "opsconsole/console.js",
    "opsconsole/live.js",
}


def weight(page: str) -> int:
    """Return the bytes of a first visit; files are compressed as whitenoise does."""
    found = [finders.find(name) for name in set(ASSET.findall(page))]
    return len(page.encode()) + sum(len(gzip.compress(Path(path).read_bytes())) for path in found if path)


def test_list_of_stale_runs_is_light(operator: Client) -> None:
    for number in range(50):
        run(age=HOUR, silent=HOUR, worker=f"worker-{number}", customer_id=f"customer-{number}")

    page = operator.get(reverse("admin:jobs_job_changelist"), {"stale": "any"}).text

    assert page.count("data-row=") == 50
    assert weight(page) < MOST
    assert set(SCRIPT.findall(page)) == OF_EVERY_PAGE | {"admin/js/actions.js"}


def test_list_without_actions_loads_no_script_of_its_own(operator: Client) -> None:
    page = operator.get(reverse("admin:jobs_sweep_changelist")).text

    assert set(SCRIPT.findall(page)) == OF_EVERY_PAGE
