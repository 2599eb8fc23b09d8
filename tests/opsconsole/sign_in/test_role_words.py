"""Tests of the words for roles on screen, which are those of the documentation."""

from __future__ import annotations

import io
import re

import pytest
from django.contrib.auth.models import Group
from django.core.management import call_command
from django.test import Client
from django.urls import reverse

from opsconsole.sign_in import role_words, roles
from tests import people
from tests.repository import REPOSITORY

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _roles() -> None:
    call_command("sync_roles", stdout=io.StringIO())


def test_documentation_says_what_pages_say() -> None:
    page = (REPOSITORY / "docs" / "roles.md").read_text()
    listed = dict(re.findall(r"^\| (\w+) \| (.+) \|$", page, re.MULTILINE))

    assert {name: listed.get(name) for name in role_words.ALLOWS} == role_words.ALLOWS
    assert list(role_words.ALLOWS) == [roles.VIEWER, roles.OPERATOR, roles.ADMINISTRATOR]


def test_roles_are_explained_where_they_are_given(client: Client) -> None:
    client.force_login(people.operator())
    night = Group.objects.create(name="Night shift")
    page = client.get(reverse("admin:auth_user_change", args=[people.viewer().pk])).content.decode()

    for name in role_words.ALLOWS:
        assert f"<strong>{name}</strong>: {role_words.allows(name)}" in page
    assert role_words.MAY_LOG_IN in page and role_words.WHY_MAY_LOG_IN in page
    assert "Staff status" not in page
    listed = client.get(reverse("admin:auth_group_changelist")).content.decode()
    assert "requeue, cancel and release jobs" in listed and night.name in listed


@pytest.mark.parametrize(
    "page", ["auth_user_changelist", "auth_user_add", "auth_group_changelist", "auth_group_add"]
)
def test_no_page_of_people_calls_a_role_a_group(client: Client, page: str) -> None:
    client.force_login(people.operator())
    text = re.sub(r"<[^>]+>", " ", client.get(reverse(f"admin:{page}")).content.decode())

    assert re.search(r"\broles?\b", text, re.IGNORECASE)
    assert re.findall(r"(?<!failure )\bgroups?\b", text, re.IGNORECASE) == []
