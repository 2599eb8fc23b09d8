"""The requests to services that open incidents, received by a real HTTP server: each names its incident."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlsplit

import apprise
import pytest

from alerts.channels.incidents import posting, services
from alerts.channels.incidents.services import SERVICES
from alerts.channels.outcome import Outcome
from alerts.channels.targets import INCIDENT_SCHEMES, Target
from alerts.channels.wording import AlertMessage, Kind, MessageItem
from tests.fakes.slack import FakeSlack, Reply

KEY = "opsconsole-7c9e6679-7425-40de-944b-e07fc1f90ae7"
ROUTING = "0123456789abcdef0123456789abcdef"
URLS = {
    "pagerduty": f"pagerduty://{ROUTING}@api-key",
    "opsgenie": f"opsgenie://{ROUTING}/#team-a/@olga?tags=prod,jobs&entity=queue",
    "jira": f"jira://{ROUTING}/#team-a",
    "splunk": "splunk://routing@1ace1b34-6789-4012-8345-6789abcdef01",
    "victorops": "victorops://routing@1ace1b34-6789-4012-8345-6789abcdef01",
    "squadcast": f"squadcast://{ROUTING}",
    "ilert": "ilert://il1api123",
    "incidentio": "incidentio://01GW2G3V0S59R238FAHPDS1R66/secret-token",
    "pagertree": "pagertree://int_1a2b3c4d5e",
    "signl4": "signl4://secret123",
    "firehydrant": "firehydrant://eyJhbGciOiJIUzI1NiJ9.token.sig",
    "goalert": "goalert://{host}/dd4bb9d9-6e1f-4f5c-8ec4-8c0ad04b9c4a",
    "opsimate": "opsimate://api-token-123@{host}",
}
# The word of each service for an incident that is open, and for one that is resolved.
WORDS = {
    "pagerduty": ("trigger", "resolve"),
    "opsgenie": ("", "/close?identifierType=alias"),
    "jira": ("", "/close?identifierType=alias"),
    "splunk": ("CRITICAL", "RECOVERY"),
    "victorops": ("CRITICAL", "RECOVERY"),
    "squadcast": ("trigger", "resolve"),
    "ilert": ("ALERT", "RESOLVE"),
    "incidentio": ("firing", "resolved"),
    "pagertree": ("create", "resolve"),
    "signl4": ("", "resolved"),
    "firehydrant": ("OPEN", "CLOSED"),
    "goalert": ("", "close"),
    "opsimate": ("firing", "resolved"),
}


@pytest.fixture
def service(slack: FakeSlack, monkeypatch: pytest.MonkeyPatch) -> FakeSlack:
    """Stand in for every service: only the host of its address differs from the real one."""
    slack.always = Reply(202, '{"status": "success"}')
    host = f"http://{urlsplit(slack.url).netloc}"
    for each, address in services.ENDPOINTS.items():
        monkeypatch.setitem(services.ENDPOINTS, each, host + urlsplit(address).path)
    return slack


def url(name: str, service: FakeSlack) -> str:
    return URLS[name].format(host=urlsplit(service.url).netloc)


def item(*kinds: Kind, incident: str = KEY, severity: str = "critical", **fields: Any) -> MessageItem:
    defaults: dict[str, Any] = {
        "title": "5 dead letters in default",
        "headline": f"{kinds[-1]}: 5 dead letters in default",
        "lines": ("Look.",),
        "facts": (("Queue", "default"),),
        "links": (("Review", "https://ops.example.com/x"),),
    }
    return MessageItem(kinds=kinds, severity=severity, incident=incident, **{**defaults, **fields})


def post(name: str, service: FakeSlack, *items: MessageItem, **fields: Any) -> Outcome:
    return posting.post(url(name, service), AlertMessage(items=items, **fields)).outcome


def test_schemes_are_those_of_the_services() -> None:
    assert set(SERVICES) == INCIDENT_SCHEMES
    assert all(apprise.Apprise.instantiate(each.format(host="h")) for each in URLS.values())
    assert Target("pager", URLS["pagerduty"]).opens_incidents
    assert not Target("mail", "mailto://user:password@example.com").opens_incidents


@pytest.mark.parametrize("name", URLS)
def test_firing_reminder_and_resolution_have_one_key(service: FakeSlack, name: str) -> None:
    for kind in (Kind.FIRING, Kind.REMINDER, Kind.RESOLVED):
        assert post(name, service, item(kind)) == Outcome.DELIVERED
    requests = [path + json.dumps(body) for path, body in zip(service.paths, service.posts, strict=True)]
    assert len(requests) == 3
    assert all(KEY in request for request in requests)
    opened, closed = WORDS[name]
    for request in requests[:2]:
        assert opened in request and (closed not in request)
        assert "5 dead letters in default" in request
    assert closed in requests[2]


def test_pagerduty_event(service: FakeSlack) -> None:
    post("pagerduty", service, item(Kind.FIRING), remarks=("This may be a repeat.",))
    post("pagerduty", service, item(Kind.RESOLVED))
    assert service.paths == ["/v2/enqueue"] * 2
    assert service.posts[0] == {
        "routing_key": ROUTING,
        "dedup_key": KEY,
        "event_action": "trigger",
        "payload": {
            "summary": "5 dead letters in default",
            "source": "Ops console",
            "severity": "critical",
            "custom_details": {
                "Queue": "default",
                "description": "firing: 5 dead letters in default\nThis may be a repeat.\nLook.",
            },
        },
        "client": "Ops console",
        "client_url": "https://ops.example.com/x",
        "links": [{"href": "https://ops.example.com/x", "text": "Review"}],
    }
    assert service.posts[1] == {"routing_key": ROUTING, "dedup_key": KEY, "event_action": "resolve"}
    assert "api-key" not in json.dumps(service.headers)


def test_opsgenie_alert(service: FakeSlack) -> None:
    post("opsgenie", service, item(Kind.FIRING))
    post("opsgenie", service, item(Kind.RESOLVED))
    assert service.paths == ["/v2/alerts", f"/v2/alerts/{KEY}/close?identifierType=alias"]
    assert {headers["Authorization"] for headers in service.headers} == {f"GenieKey {ROUTING}"}
    alert = service.posts[0]
    assert (alert["alias"], alert["priority"], alert["entity"]) == (KEY, "P1", "queue")
    assert alert["responders"] == [{"type": "team", "name": "team-a"}, {"type": "user", "username": "olga"}]
    assert sorted(alert["tags"]) == ["jobs", "prod"]
    assert alert["details"] == {"Queue": "default", "Review": "https://ops.example.com/x"}


def test_options_of_the_url_are_kept_but_cannot_change_the_key(service: FakeSlack) -> None:
    options = "/host/worker?group=g&class=c&severity=error&dedup=fixed&action=resolve&+team=jobs"
    posting.post(url("pagerduty", service) + options, AlertMessage(items=(item(Kind.FIRING),)))
    [event] = service.posts
    assert (event["event_action"], event["dedup_key"]) == ("trigger", KEY)
    payload = event["payload"]
    assert [payload[name] for name in ("source", "component", "group", "class", "severity")] == [
        "host",
        "worker",
        "g",
        "c",
        "error",
    ]
    assert payload["custom_details"]["team"] == "jobs"


@pytest.mark.parametrize("name", URLS)
def test_test_message_opens_an_incident_and_resolves_it(service: FakeSlack, name: str) -> None:
    assert post(name, service, item(Kind.TEST, incident="", severity="info")) == Outcome.DELIVERED
    assert len(service.posts) == 2
    assert WORDS[name][1] in service.paths[1] + json.dumps(service.posts[1])


def test_plain_format_has_no_facts_and_links(service: FakeSlack) -> None:
    post("pagerduty", service, item(Kind.FIRING), plain=True)
    [event] = service.posts
    assert "links" not in event
    assert event["payload"]["custom_details"] == {"description": "firing: 5 dead letters in default"}


@pytest.mark.parametrize(
    ("reply", "outcome"),
    [
        (Reply(202, '{"status": "success"}'), Outcome.DELIVERED),
        (Reply(204, ""), Outcome.DELIVERED),
        (Reply(200, "<html>Please log in</html>"), Outcome.UNKNOWN),
        (Reply(302, ""), Outcome.AGAIN),
        (Reply(400, '{"status": "invalid event"}'), Outcome.MALFORMED),
        (Reply(422, '{"message": "Request body is not processable."}'), Outcome.MALFORMED),
        (Reply(401, '{"message": "Could not authenticate"}'), Outcome.BROKEN),
        (Reply(403, '{"message": "Forbidden"}'), Outcome.BROKEN),
        (Reply(403, "<html>Forbidden by the proxy</html>"), Outcome.AGAIN),
        (Reply(404, '{"message": "No such integration"}'), Outcome.BROKEN),
        (Reply(410, ""), Outcome.BROKEN),
        (Reply(408, ""), Outcome.AGAIN),
        (Reply(429, "{}", {"Retry-After": "7"}), Outcome.AGAIN),
        (Reply(500, "{}"), Outcome.AGAIN),
        (Reply(502, ""), Outcome.UNKNOWN),
        (Reply(503, ""), Outcome.AGAIN),
        (Reply(504, ""), Outcome.UNKNOWN),
    ],
)
def test_answer_is_interpreted(service: FakeSlack, reply: Reply, outcome: Outcome) -> None:
    service.always = reply
    answer = posting.post(url("pagerduty", service), AlertMessage(items=(item(Kind.FIRING),)))
    assert answer.outcome == outcome
    assert str(reply.status) in answer.text
    assert (answer.retry_after is not None) == bool(reply.headers)


def test_answer_has_no_secret(service: FakeSlack) -> None:
    service.always = Reply(401, json.dumps({"message": f"The key {ROUTING} is not valid"}))
    answer = posting.post(url("opsgenie", service), AlertMessage(items=(item(Kind.FIRING),)))
    assert ROUTING not in answer.text and "is not valid" in answer.text


def test_url_that_apprise_does_not_understand_is_broken() -> None:
    answer = posting.post("pagerduty://secret-word", AlertMessage(items=(item(Kind.FIRING),)))
    assert (answer.outcome, "secret" in answer.text) == (Outcome.BROKEN, False)
