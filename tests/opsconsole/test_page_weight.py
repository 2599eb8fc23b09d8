"""Tests that a first visit stays light: a page with the style sheets and scripts that it names."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group, User
from django.contrib.staticfiles import finders
from django.test import Client
from django.urls import reverse

from jobs.models import Sweep
from opsconsole.kit.durations import HOUR
from opsconsole.kit.titled_admin import TitledAdmin
from ratelimits.models import Policy
from tests import people
from tests.factories import failure_group, run

pytestmark = pytest.mark.django_db

# The limit is 200 kB; the rest is room for longer ids and words than those of tests.
MOST = 150 * 1024
MOST_OF_A_FORM = 75 * 1024
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


def test_form_loads_what_it_uses_only(client: Client) -> None:
    root = people.operator("root")
    User.objects.filter(pk=root.pk).update(is_superuser=True)
    client.force_login(User.objects.get(pk=root.pk))
    role, policy = Group.objects.earliest("pk"), Policy.objects.earliest("pk")
    changed = [
        reverse("admin:auth_user_change", args=[root.pk]),
        reverse("admin:auth_group_change", args=[role.pk]),
        reverse("admin:ratelimits_policy_change", args=[policy.pk]),
        reverse("admin:jobs_failuregroup_change", args=[failure_group().pk]),
        reverse("admin:jobs_sweep_change", args=[Sweep.objects.create().pk]),
    ]
    for url in changed:
        page = client.get(url).text
        assert set(SCRIPT.findall(page)) == OF_EVERY_PAGE, url
        assert "admin/js/" not in page.partition("</head>")[2], url
        assert "jsi18n" not in page and "add-related" not in page, url
        assert weight(page) < MOST_OF_A_FORM, (url, weight(page))
    for name in ("auth_user_add", "auth_group_add", "ratelimits_policy_add"):
        page = client.get(reverse(f"admin:{name}")).text
        assert "admin/js/change_form.js" in page and "jquery" not in page, name


def test_every_form_is_one_without_the_scripts_of_the_admin() -> None:
    """Those that are left out choose dates, fill other fields, show pairs of lists, or rows within a row: no form has such."""
    for each in admin.site._registry.values():
        assert isinstance(each, TitledAdmin), each
        used = (each.prepopulated_fields, each.filter_horizontal, each.filter_vertical, each.inlines)
        more = (each.raw_id_fields, each.autocomplete_fields)
        assert not any((*used, *more)), each
