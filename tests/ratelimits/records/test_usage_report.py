"""The report of limited requests, its pages and its export."""

from __future__ import annotations

import csv
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.db.models.functions import Now
from django.test import Client
from django.urls import reverse

from ratelimits.admin import recent_records
from ratelimits.identity import client_names
from ratelimits.models import Policy, RateLimitHour, RateLimitRequest
from ratelimits.models.hour import hash_key
from ratelimits.records import recording, usage_report
from ratelimits.records.usage_report import PERIODS, ReportQuery, RequestCounts
from tests import people
from tests.keys import key as make_key
from tests.page_costs import fewest_statements

pytestmark = pytest.mark.django_db

LIST = reverse("admin:ratelimits_ratelimithour_changelist")
CLIENT = reverse("admin:ratelimits_ratelimithour_client")
EXPORT = reverse("admin:ratelimits_ratelimithour_export")
NOISY, CALM = "address:203.0.113.7", "address:198.51.100.20"
QUEUE = "/api/queue/<anything:customer_id>"


def record(key: str, outcome: str, hits: int = 1, *, ago: timedelta = timedelta(0), **fields: Any) -> None:
    of = {"key": key, "endpoint": QUEUE, "method": "GET", "policy": "standard"} | fields
    RateLimitRequest.objects.create(outcome=outcome, hits=hits, created_at=Now() - ago, **of)


def minutes(count: int) -> timedelta:
    return timedelta(minutes=count)


@pytest.fixture
def busy() -> None:
    """Record requests of two clients now, and of two clients an hour and a day ago, which are rolled up."""
    record(NOISY, "allowed", 100, ago=minutes(2))
    record(NOISY, "limited", 50, ago=minutes(1))
    record(CALM, "allowed", 7, ago=minutes(1))
    record(CALM, "shadow", 2, ago=minutes(1), policy="relaxed", endpoint="/api/jobs", method="POST")
    record(NOISY, "limited", 30, ago=minutes(65))
    record("address:192.0.2.9", "denied", 4, ago=minutes(26 * 60), policy="strict")
    assert recording.cleanup() == 2


def report_query(period: str = "day", **fields: Any) -> ReportQuery:
    return ReportQuery(period=PERIODS[period], **fields)


def test_report_combines_records_and_hours(busy: None) -> None:
    steps = usage_report.report(report_query("day")).steps

    assert len(steps) == 24
    assert usage_report.report(report_query()).total == RequestCounts(
        allowed=107, limited=80, denied=0, shadow=2
    )
    assert usage_report.report(report_query("week")).total == RequestCounts(
        allowed=107, limited=80, denied=4, shadow=2
    )


def test_rolling_up_does_not_change_the_report() -> None:
    record(NOISY, "limited", 30, ago=minutes(65))
    before = usage_report.report(report_query()).total, usage_report.report(report_query()).clients[0].counts
    assert recording.cleanup() == 1

    after = usage_report.report(report_query()).total, usage_report.report(report_query()).clients[0].counts
    assert after == before == (RequestCounts(limited=30), RequestCounts(limited=30))


@pytest.mark.parametrize("period", PERIODS)
def test_each_period_ends_now_without_gaps(period: str) -> None:
    record(NOISY, "limited", 5)
    steps = usage_report.report(report_query(period)).steps

    starts = [start for start, _ in steps]
    assert len(starts) == PERIODS[period].bars
    assert {later - earlier for earlier, later in pairwise(starts)} == {PERIODS[period].step}
    assert steps[-1][1].limited + steps[-2][1].limited == 5


def test_client_is_the_same_in_both_tables(busy: None) -> None:
    first, *_ = usage_report.report(report_query()).clients

    assert (first.key, first.name) == (NOISY, hash_key(NOISY))
    assert first.counts == RequestCounts(allowed=100, limited=80)
    assert first.counts.refused_percent == pytest.approx(100 * 80 / 180)


def test_report_lists_routes_and_policies(busy: None) -> None:
    assert [
        (each.name, each.counts.refused) for each in usage_report.report(report_query("week")).routes
    ] == [
        (f"GET {QUEUE}", 84),
        ("POST /api/jobs", 0),
    ]
    assert [each.name for each in usage_report.report(report_query("week")).policies] == [
        "standard",
        "strict",
        "relaxed",
    ]


def test_report_is_filtered_by_policy_and_client(busy: None) -> None:
    assert usage_report.report(report_query("week", policy="strict")).total == RequestCounts(denied=4)
    assert usage_report.report(report_query(client=hash_key(CALM))).total == RequestCounts(
        allowed=7, shadow=2
    )


def test_lists_are_limited() -> None:
    for number in range(usage_report.MAX_LINES + 3):
        record(f"address:192.0.2.{number}", "limited", number)

    assert len(usage_report.report(report_query()).clients) == usage_report.MAX_LINES


def test_slow_report_is_cancelled(operator: Client, busy: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage_report, "TIMEOUT_MS", 1)
    slow = usage_report.REPORT.replace("FROM matching", "FROM matching, pg_sleep(0.2)")
    monkeypatch.setattr(usage_report, "REPORT", slow)

    with pytest.raises(usage_report.ReportTimeout):
        usage_report.report(report_query())
    page = operator.get(LIST)
    assert page.status_code == 200
    assert "The report took longer than" in page.content.decode()


# --- the search for clients ---


@pytest.mark.parametrize(
    ("term", "key"),
    [
        ("203.0.113.7", "address:203.0.113.7"),
        ("203.0.113.7:5555", "address:203.0.113.7"),
        ("::ffff:203.0.113.7", "address:203.0.113.7"),
        ("2001:db8:1:2:3::4", "address:2001:db8:1:2::/64"),
        ("2001:db8:1:2::/64", "address:2001:db8:1:2::/64"),
        ("address:203.0.113.7", "address:203.0.113.7"),
        ("customer-7", "check:customer-7"),
    ],
)
def test_search_term_finds_a_client(term: str, key: str) -> None:
    assert key in [client.key for client in client_names.find(term)]


def test_search_finds_users_and_api_keys() -> None:
    olga = people.operator()
    api_key, _ = make_key("shop, production")

    assert client_names.find("OLGA")[0] == client_names.NamedClient(f"user:{olga.pk}", "user olga")
    for term in ("shop", api_key.hint, str(api_key.pk)):
        assert client_names.find(term)[0].key == f"key:{api_key.pk}"
        assert client_names.find(term)[0].name == f"API key {api_key}"
    assert client_names.find("  ") == []
    assert client_names.find("a\x00b" * 200)


def test_names_take_one_query(django_assert_num_queries: Any) -> None:
    api_key, _ = make_key()
    by_others = ["check:address:1.2.3.4", "check:1.2.3.4", "check:2001:db8::/64", "check:ACME"]
    keys = [f"key:{api_key.pk}", "user:1", "user:2", NOISY, *by_others, "(other)", "key:x", ""]
    with django_assert_num_queries(1):
        names = client_names.names(keys)
    assert names[NOISY] == "203.0.113.7"
    assert [names[key] for key in by_others] == [
        "1.2.3.4 (of another service)",
        "identity “1.2.3.4” (of another service)",
        "identity “2001:db8::/64” (of another service)",
        "ACME (of another service)",
    ]
    assert names["(other)"] == "(other)"


# --- the pages ---


def test_page_shows_clients_routes_and_counts(operator: Client, busy: None) -> None:
    page = operator.get(LIST).content.decode()

    assert "80 requests refused in the last 24 hours." in page
    assert "203.0.113.7" in page
    assert "/api/queue/{customer_id}" in page
    assert page.count('<svg width="100%"') == 2
    assert 'aria-label="Requests refused or above a limit in the last 24 hours, UTC.' in page
    assert "2 more above the limit were allowed in shadow mode" in page


def test_page_says_that_no_requests_were_refused(operator: Client) -> None:
    page = operator.get(LIST, {"period": "hour"}).content.decode()

    assert "No requests refused in the last hour." in page


def test_search_with_one_match_opens_its_page(operator: Client, busy: None) -> None:
    people.viewer()
    record(f"user:{User.objects.get(username='vera').pk}", "limited", 3)

    results = operator.get(LIST, {"q": "203.0.113.7"})
    names = [client.name for client, _ in results.context["matches"]]
    assert len(set(names)) == len(names) == 3
    text = results.content.decode()
    assert "203.0.113.7 (of another service)" in text
    # The figures of all clients are no answer to a search.
    assert "requests refused in" not in text and "Most refused clients" not in text
    assert f'<a href="{LIST}">Show the figures of all clients</a>' in text
    page = operator.get(LIST, {"q": "customer-7"}, follow=True)
    assert page.redirect_chain
    assert "No requests in the last 24 hours." in page.content.decode()


def test_requests_beyond_the_first_lines_are_a_click_away(operator: Client) -> None:
    for number in range(recent_records.LINES + 3):
        record(NOISY, "limited", number + 1, ago=timedelta(seconds=number))
    for page, query in ((CLIENT, {"key": NOISY}), (LIST, {"policy": "standard"})):
        first = operator.get(page, query)
        recent = first.context["recent"]
        assert f"Lines 1 to {recent_records.LINES}; there are more." in first.content.decode()
        assert (recent.newer, len(recent.rows)) == ("", recent_records.LINES)

        rest = operator.get(page + recent.older)
        assert rest.context["policy"] == query.get("policy", "")
        assert [row.hits for row, *_ in rest.context["recent"].rows] == [26, 27, 28]
        assert "Lines 26 to 28." in rest.content.decode() and rest.context["recent"].older == ""
        assert operator.get(page + rest.context["recent"].newer).context["recent"].first == 1
    for odd in ("x", "-1", "99999999"):
        assert operator.get(CLIENT, {"key": NOISY, "skip": odd}).context["recent"].first == 1
    past = operator.get(CLIENT, {"key": NOISY, "skip": "9999"}).content.decode()
    assert "No older requests are kept." in past


def test_page_lists_no_users_of_whom_nothing_was_counted(client: Client) -> None:
    """Count up ``user:1``, ``user:2`` and so on: before, a viewer read the names of all accounts."""
    olga, vera = people.operator(), people.viewer()
    vera.user_permissions.remove(Permission.objects.get(codename="view_user"))
    client.force_login(vera)
    asked = [(LIST, {"q": "OLGA"}), (LIST, {"q": f"user:{olga.pk}"}), (CLIENT, {"key": f"user:{olga.pk}"})]
    for page, query in [*asked, (reverse("search"), {"q": f"user:{olga.pk}"})]:
        assert "user olga" not in client.get(page, query, follow=True).content.decode()

    record(f"user:{olga.pk}", "limited", 3)
    for page, query in asked:
        assert "user olga" in client.get(page, query, follow=True).content.decode()


def test_client_page_is_found_by_key_and_by_hash(operator: Client, busy: None) -> None:
    by_key = operator.get(CLIENT, {"key": NOISY}).content.decode()
    by_hash = operator.get(CLIENT, {"hash": hash_key(NOISY)}).content.decode()

    for page in (by_key, by_hash):
        assert "80 of 180 requests refused in the last 24 hours." in page
        assert "<h1>203.0.113.7</h1>" in page
        assert "198.51.100.20" not in page
        assert "Failed logins from this address" in page


def test_client_page_without_records(operator: Client, busy: None) -> None:
    digest = hash_key("address:192.0.2.9")
    page = operator.get(CLIENT, {"hash": digest, "period": "week"}).content.decode()

    assert f"Client {digest[:12]}" in page
    assert "0 above the limit, 4 from a denied network" in page
    assert "Only hourly figures remain." in page


def test_client_page_of_an_api_key_links_to_the_key(operator: Client) -> None:
    api_key, _ = make_key()
    record(f"key:{api_key.pk}", "limited", 3)

    page = operator.get(CLIENT, {"key": f"key:{api_key.pk}"}).content.decode()

    assert reverse("admin:ratelimits_apikey_change", args=[api_key.pk]) in page


@pytest.mark.parametrize(
    "query",
    [
        {"period": "x"},
        {"policy": "nope"},
        {"q": "<script>alert(1)</script>"},
        {"hash": "%"},
        {"key": "key:not-a-uuid"},
        {"key": "user:99999999999999999999"},
        {"key": "user:²"},
    ],
)
def test_page_opens_with_invalid_parameters(operator: Client, busy: None, query: dict[str, str]) -> None:
    for url in (LIST, CLIENT, EXPORT):
        response = operator.get(url, query, follow=True)
        assert response.status_code == 200
        if not getattr(response, "streaming", False):
            assert "<script>alert" not in response.content.decode()


def exported(client: Client, **query: str) -> list[list[str]]:
    response: Any = client.get(EXPORT, query)
    assert response.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert "attachment" in response.headers["Content-Disposition"]
    return list(csv.reader(b"".join(response.streaming_content).decode().splitlines()))


def test_export_has_all_figures(operator: Client, busy: None) -> None:
    head, *lines = exported(operator, period="week")

    assert head[0] == "hour (UTC)"
    assert sum(int(line[-1]) for line in lines) == 100 + 50 + 7 + 2 + 30 + 4
    assert ["standard", hash_key(CALM), "198.51.100.20", "GET", QUEUE, "allowed", "7"] in [
        line[1:] for line in lines
    ]
    assert {line[1] for line in exported(operator, period="week", policy="strict")[1:]} == {"strict"}
    assert {line[3] for line in exported(operator, key=CALM)[1:]} == {"198.51.100.20"}


def test_export_contains_no_spreadsheet_formula(operator: Client) -> None:
    record("check:=HYPERLINK(1)", "limited", endpoint="=cmd()", policy="@x", method="+")

    _, line = exported(operator)

    assert all(not cell.startswith(("=", "+", "-", "@")) for cell in line)


def test_export_says_when_it_is_cut_off(
    operator: Client, busy: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(usage_report, "MAX_EXPORT_ROWS", 2)

    lines = exported(operator)

    assert len(lines) == 4
    assert lines[-1][0].startswith("(cut off after 2 lines")


def test_pages_need_the_view_permission(client: Client, busy: None) -> None:
    user = people.viewer()
    user.user_permissions.clear()
    client.force_login(user)

    for url in (LIST, CLIENT, EXPORT):
        assert client.get(url, {"key": NOISY}).status_code == 403


def test_number_of_queries_does_not_grow_with_the_clients(operator: Client) -> None:
    record(NOISY, "limited", 3)
    few = fewest_statements(operator, LIST)
    for number in range(30):
        record(f"address:192.0.2.{number}", "limited", 3)
        record(f"user:{number}", "limited", 3)
    many = fewest_statements(operator, LIST)

    # Each of the two lists needs one query for the names of users.
    assert len(many) <= len(few) + 2
    assert RateLimitHour.objects.count() == 0


def test_policies_of_the_report_open_their_pages_for_those_who_may_see_them(client: Client) -> None:
    record(NOISY, "limited")
    record(NOISY, "limited", policy="deleted since")
    policy = reverse("admin:ratelimits_policy_change", args=[Policy.objects.get(name="standard").pk])

    client.force_login(people.operator())
    page = client.get(LIST).text
    assert f'<a href="{policy}">standard</a>' in page and "deleted since" in page

    limited = User.objects.create_user("requests only", is_staff=True)
    limited.user_permissions.add(Permission.objects.get(codename="view_ratelimithour"))
    client.force_login(limited)
    page = client.get(LIST).text
    assert policy not in page and "standard" in page
