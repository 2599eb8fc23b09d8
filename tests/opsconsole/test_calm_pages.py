"""What a tired person meets on each page: one primary action, and plain numbers and words in forms."""

from __future__ import annotations

import io
import re

import pytest
from django.contrib.auth.models import Group, User
from django.core.management import call_command
from django.test import Client
from django.urls import reverse

from alerts.models import Rule
from jobs.models import Outbox, Sweep
from opsconsole.sign_in import roles
from tests import factories, people
from tests.opsconsole.quick_client import QuickClient, body
from tests.opsconsole.test_every_page import _quick, _scenery, pages  # noqa: F401 - fixtures

pytestmark = pytest.mark.django_db

# Others are plain, or take something away.
PRIMARY = re.compile(r'<button[^>]* class="operation"[^>]*>\s*([^<]*)')


@pytest.mark.usefixtures("_scenery", "_quick")
def test_no_page_has_two_primary_actions() -> None:
    people.operator()
    client = QuickClient(User.objects.get(username="olga"))
    answers = {path: client.send("get", path) for path in pages()}
    buttons = {
        path: PRIMARY.findall(body(answer))
        for path, answer in answers.items()
        if answer.status_code == 200 and not answer.streaming
    }
    assert sum(len(each) for each in buttons.values()) > 5
    assert {path: each for path, each in buttons.items() if len(each) > 1} == {}


def test_whole_numbers_of_a_rule_have_no_decimals(operator: Client) -> None:
    rule = Rule.objects.exclude(threshold=None)[0]
    Rule.objects.filter(pk=rule.pk).update(threshold=12.5, hysteresis=2.0)
    page = operator.get(reverse("admin:alerts_rule_change", args=[rule.pk])).content.decode()
    values = dict(re.findall(r'name="(threshold|hysteresis|remind_hours)" value="([^"]*)"', page))
    assert (values["threshold"], values["hysteresis"]) == ("12.5", "2")
    assert "." not in values["remind_hours"]


def test_deleting_a_group_counts_no_rows_of_django(operator: Client) -> None:
    call_command("sync_roles", stdout=io.StringIO())
    role = Group.objects.get(name=roles.VIEWER)
    page = operator.get(reverse("admin:auth_group_delete", args=[role.pk])).content.decode()
    assert "Viewer" in page
    assert "relationship" not in page


def test_forms_of_people_speak_of_ways_that_exist(operator: Client) -> None:
    user = people.viewer()
    for address in (
        reverse("admin:auth_user_add"),
        reverse("admin:auth_user_password_change", args=[user.pk]),
    ):
        page = operator.get(address).content.decode()
        assert "single sign-on only" in page
        assert "LDAP" not in page
    user.set_unusable_password()
    user.save()
    assert operator.get(address).status_code == 200


def test_what_is_empty_or_no_is_said_in_words(operator: Client) -> None:
    sweep, message = Sweep.objects.create(), Outbox.objects.create(job_id=factories.job().pk, run_epoch=1)
    page = operator.get(reverse("admin:jobs_sweep_change", args=[sweep.pk])).content.decode()
    assert "{}" not in page
    page = operator.get(reverse("admin:jobs_outbox_change", args=[message.pk])).content.decode()
    assert "icon-no" not in page
