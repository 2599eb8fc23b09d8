"""Tests of channels that are added, changed, muted and removed on pages; their addresses are never shown."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.core.management import CommandError, call_command
from django.db.models.functions import Now
from django.test import Client
from django.urls import reverse

from alerts.channels import stored_addresses
from alerts.channels.targets import all_targets
from alerts.models import Channel
from alerts.sending import addressing, banner
from opsconsole import overview
from opsconsole_worker.environment import QueueConfig
from tests import people

pytestmark = pytest.mark.django_db

ADDRESS = "pagerduty://INTEGRATIONKEYINTEGRATIONKEYABC@APIKEYAPIKEY"
KEY = "k" * 40
ADD = reverse("admin:alerts_channel_make")
FIELDS = {
    "name": "pager",
    "address": ADDRESS,
    "least_severity": "critical",
    "from_hour": "",
    "until_hour": "",
    "reason": "on call",
}


def forget() -> None:
    """Forget what pages keep for some seconds, also what an earlier test has left."""
    banner.memory.clear()
    overview.memory.clear()


@pytest.fixture(autouse=True)
def _settings(settings: Any) -> None:
    settings.OPSCONSOLE_CHANNEL_KEYS = [KEY]
    settings.OPSCONSOLE_ALERT_CHANNELS = {"mail": "mailtos://u:secret-word@example.com"}
    settings.SLACK_WEBHOOK_URL = ""
    forget()


def of(page: str, name: str = "pager") -> str:
    return reverse(f"admin:alerts_channel_{page}", args=[name])


def version(page: str) -> str:
    found = re.search(r'name="version" value="([^"]+)"', page)
    assert found
    return found[1]


def test_channel_is_added_and_its_address_is_stored_encrypted(operator: Client, settings: Any) -> None:
    page = operator.post(
        ADD, FIELDS | {"rules": ["dlq_not_empty"], "from_hour": "22", "until_hour": "6"}, follow=True
    )
    assert "The channel pager was added." in page.text and "INTEGRATION" not in page.text
    row = Channel.objects.get(pk="pager")
    assert "INTEGRATION" not in row.secret and (row.from_hour, row.until_hour) == (22, 6)
    assert (all_targets()["pager"].address, all_targets()["pager"].is_added) == (ADDRESS, True)
    assert "critical, of Dead letter queue not empty, from 22 to 6 h UTC" in page.text
    line = LogEntry.objects.latest("pk")
    assert (line.change_message, line.detail.reason) == ("Added the channel.", "on call")

    # A new key beside the old one; then without the old one.
    settings.OPSCONSOLE_CHANNEL_KEYS = ["n" * 40, KEY]
    assert all_targets()["pager"].address == ADDRESS
    settings.OPSCONSOLE_CHANNEL_KEYS = ["n" * 40]
    assert "pager" not in all_targets()
    assert "Its key is missing" in operator.get(of("change")).text


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"name": "Pager!"}, "lower-case letters"),
        ({"name": "mail"}, "There is a channel mail already"),
        ({"address": ""}, "This field is required"),
        ({"address": "json://10.0.0.1/hook"}, "Here an address begins with one of"),
        ({"address": "mailto://u:p@10.0.0.1"}, "Here an address begins with one of"),
        ({"address": "syslog://"}, "Here an address begins with one of"),
        ({"address": "pagerduty://"}, "Apprise does not understand"),
        (
            {"address": "https://hooks.slack.com/services/a"},
            "This is an incoming webhook of Slack: name its channel slack.",
        ),
        ({"name": "slack", "address": "https://hooks.slack.com.evil.example/x"}, "incoming webhook"),
        ({"from_hour": "8"}, "Give both hours"),
        ({"from_hour": "24", "until_hour": "6"}, "less than or equal to 23"),
        ({"from_hour": "6", "until_hour": "6"}, "Give two different hours, or none for the whole day."),
        ({"rules": ["unknown"]}, "not one of the available choices"),
        ({"reason": " "}, "Give a reason"),
    ],
)
def test_what_is_wrong_is_said_without_the_address(
    operator: Client, wrong: dict[str, Any], said: str
) -> None:
    page = operator.post(ADD, FIELDS | wrong).text
    assert said in page
    assert "10.0.0.1" not in page and "INTEGRATION" not in page and "evil" not in page
    assert not Channel.objects.exclude(secret="").exists()
    if "address" in wrong:
        assert page.index(said) > page.index('for="id_name"'), "beside its field"


def test_without_a_key_the_page_says_what_to_set(operator: Client, settings: Any) -> None:
    settings.OPSCONSOLE_CHANNEL_KEYS = []
    asked = operator.get(ADD).text
    assert "Set <code>OPSCONSOLE_CHANNEL_KEYS</code> to it" in asked
    assert 'data-copy="python -c &quot;import secrets; print(secrets.token_urlsafe(48))&quot;"' in asked
    # There is nothing to fill in.
    assert 'name="reason"' not in asked
    assert "Set <code>OPSCONSOLE_CHANNEL_KEYS</code> to it" in operator.post(ADD, FIELDS).text


def test_channel_is_changed_muted_and_removed(operator: Client) -> None:
    operator.post(ADD, FIELDS)
    opened = operator.get(of("settings")).text
    assert "INTEGRATION" not in opened
    fields = {"address": "", "least_severity": "warning", "reason": "more", "version": version(opened)}
    assert "warning and above" in operator.post(of("settings"), fields, follow=True).text
    assert all_targets()["pager"].address == ADDRESS
    again = operator.post(of("settings"), fields | {"least_severity": "info"})
    assert again.status_code == 409 and "Nothing was saved" in again.text

    moved = fields | {"version": version(operator.get(of("settings")).text), "address": ADDRESS + "2"}
    operator.post(of("settings"), moved)
    assert all_targets()["pager"].address == ADDRESS + "2"

    assert (
        "is muted until"
        in operator.post(of("mute"), {"hours": "2", "reason": "test of the site"}, follow=True).text
    )
    listed = operator.get(reverse("admin:alerts_channel_changelist")).text
    assert re.search(r"Muted until \d\d \w{3} \d\d:\d\d UTC", listed)
    assert "less than or equal to 168" in operator.post(of("mute"), {"hours": "169", "reason": "x"}).text
    assert "is told again" in operator.post(of("mute"), {"unmute": "1"}, follow=True).text

    assert "was removed" in operator.post(of("remove"), {"reason": "left the service"}, follow=True).text
    assert "pager" not in all_targets() and Channel.objects.filter(pk="pager", secret="").exists()
    assert "removed already" in operator.post(of("remove"), {"reason": "twice"}).text


def test_address_of_the_environment_is_fixed(operator: Client) -> None:
    operator.get(reverse("admin:alerts_channel_changelist"))
    assert "set by the environment" in operator.get(of("change", "mail")).text
    opened = operator.get(of("settings", "mail")).text
    assert 'name="address"' not in opened and "secret-word" not in opened
    fields = {"address": ADDRESS, "least_severity": "critical", "reason": "r", "version": version(opened)}
    assert "critical" in operator.post(of("settings", "mail"), fields, follow=True).text
    assert all_targets()["mail"].address.startswith("mailtos://")
    asked = operator.get(of("remove", "mail")).text
    assert "Remove it there" in asked and "Its address is forgotten" not in asked
    assert 'name="reason"' not in asked
    assert "Remove it there" in operator.post(of("remove", "mail"), {"reason": "r"}).text


def test_all_channels_muted_is_said_on_every_page(operator: Client) -> None:
    operator.get(reverse("admin:alerts_channel_changelist"))
    operator.post(of("mute", "mail"), {"hours": "1", "reason": "noise"})
    assert "All channels are muted: nobody is told of alerts." in operator.get(reverse("admin:index")).text


def test_muted_and_broken_channels_together_leave_nobody(operator: Client) -> None:
    operator.post(ADD, FIELDS)
    addressing.create_missing_channels()
    operator.post(of("mute", "mail"), {"hours": "1", "reason": "noise"})
    break_channel("pager")
    seen = banner.read()
    assert seen and seen.nobody
    assert seen.sentence == "Nobody is told about alerts. Alerts no longer reach pager: 404 no_service."


def break_channel(name: str) -> None:
    addresses = {all_targets()[name].digest: Channel.BROKEN}
    Channel.objects.filter(pk=name).update(
        addresses=addresses, broken_since=Now(), broken_why="404 no_service"
    )
    forget()


@pytest.mark.parametrize("keys", [[], ["another" * 8]])
def test_address_that_no_key_opens_is_told_on_every_page(
    operator: Client, settings: Any, keys: list[str]
) -> None:
    operator.post(ADD, FIELDS)
    settings.OPSCONSOLE_CHANNEL_KEYS = keys
    forget()
    said = "Alerts do not reach pager: no key of OPSCONSOLE_CHANNEL_KEYS opens its address."
    page = operator.get(reverse("admin:index")).text
    assert said in page and "Nobody is told" not in page

    settings.OPSCONSOLE_ALERT_CHANNELS = {}
    forget()
    page = operator.get(reverse("admin:index")).text
    assert f"Nobody is told about alerts. {said}" in page and "no channel is set" not in page


def test_key_that_was_rotated_in_opens_what_the_old_one_stored(operator: Client, settings: Any) -> None:
    operator.post(ADD, FIELDS)
    settings.OPSCONSOLE_CHANNEL_KEYS = ["n" * 40, KEY]
    assert all_targets()["pager"].address == ADDRESS
    forget()
    assert banner.read() is None


def test_answer_to_a_test_appears_on_the_page_that_says_so(operator: Client) -> None:
    operator.post(ADD, FIELDS)
    page = operator.post(of("test"), follow=True)
    assert page.redirect_chain[-1][0] == of("change")
    assert "The answer appears on this page in a few seconds." in page.text
    assert "data-live" in page.text


def test_removed_channel_is_not_said_to_be_of_the_environment(operator: Client) -> None:
    operator.post(ADD, FIELDS)
    operator.post(of("remove"), {"reason": "left the service"})
    opened = operator.get(of("settings")).text
    assert "The channel pager was removed and has no address" in opened
    assert "The environment has the address" not in opened


def test_mute_of_days_names_the_day(operator: Client) -> None:
    operator.post(ADD, FIELDS)
    said = operator.post(of("mute"), {"hours": "72", "reason": "holidays"}, follow=True).text
    assert re.search(r"is muted until \d\d \w{3} \d\d:\d\d UTC", said)


def test_form_says_that_no_gap_between_routes_keeps_an_alert_from_everybody(operator: Client) -> None:
    assert (
        "An alert that matches no channel is sent to every channel that is not muted"
        in operator.get(ADD).text
    )


def test_configuring_needs_its_permission() -> None:
    Channel.objects.create(name="mail")
    client = Client()
    client.force_login(people.allowed("view_channel", "test_channel"))
    for address in (ADD, *(of(page, "mail") for page in ("settings", "mute", "remove"))):
        assert client.get(address).status_code == 403 and client.post(address, FIELDS).status_code == 403
    assert ADD not in client.get(reverse("admin:alerts_channel_changelist")).text


def test_vendors_are_schemes_that_apprise_or_an_adapter_knows() -> None:
    """None of them takes a host from the address."""
    assert not stored_addresses.VENDORS & {
        "json",
        "jsons",
        "xml",
        "form",
        "syslog",
        "gotify",
        "ntfy",
        "matrix",
        "goalert",
    }


def test_channel_is_routed_by_queue_on_its_page_and_by_command(operator: Client, settings: Any) -> None:
    settings.QUEUES = {name: QueueConfig(name, "http://127.0.0.1:9/q", None) for name in ("default", "slow")}
    operator.post(ADD, FIELDS | {"queues": ["slow"]})
    assert Channel.objects.get(pk="pager").queues == ["slow"]
    # A queue that is gone stays chosen until somebody takes it away.
    settings.QUEUES = {"default": settings.QUEUES["default"]}
    page = operator.get(of("settings")).text
    assert re.search(r'value="slow"[^>]* checked', page)
    assert "not one of the available choices" in operator.post(ADD, FIELDS | {"queues": ["slow"]}).text

    call_command(
        *("channels", "route", "pager", "--queue", "default", "--hours", "22-6"),
        *("--reason", "at night", "--as", "olga"),
        stdout=(said := io.StringIO()),
    )
    assert said.getvalue() == "pager is told: all alerts, about default, from 22 to 6 h UTC.\n"
    row = Channel.objects.get(pk="pager")
    assert (row.queues, row.from_hour, row.least_severity) == (["default"], 22, "info")
    line = LogEntry.objects.latest("pk")
    assert (line.change_message, line.detail.reason) == ("Changed what the channel is told.", "at night")
    for wrong in (("pager", "--queue", "none"), ("nobody",), ("pager", "--hours", "22-24")):
        with pytest.raises(CommandError):
            call_command("channels", "route", *wrong, "--reason", "r", stdout=io.StringIO())
