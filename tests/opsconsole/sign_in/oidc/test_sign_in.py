"""Tests of single sign-on against a provider that is reached over HTTP: who gets in, and as whom."""

from __future__ import annotations

import io
import time
from datetime import timedelta
from functools import partial
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group, User
from django.core.management import call_command
from django.test import Client
from django.urls import reverse

from alerts import operator_decisions, rules
from alerts.models import Alert, Notification
from opsconsole.kit import audit
from opsconsole.kit.audit_models import Refusal
from opsconsole.kit.identity_models import CompletedSignIn, SignInIdentity
from opsconsole.sign_in import local_log_ins
from opsconsole.sign_in.oidc import accounts, begun
from tests import people
from tests.fakes import identity_provider
from tests.fakes.identity_provider import Provider
from tests.racing import race

pytestmark = pytest.mark.django_db

BEGIN, BACK = reverse("oidc_begin"), reverse("oidc_return")
OVERVIEW, LOG_IN = reverse("admin:index"), reverse("admin:login")
JOBS = reverse("admin:jobs_job_changelist")


@pytest.fixture(autouse=True)
def _roles() -> None:
    # Tests that empty the database also delete the rows that migrations wrote.
    call_command("sync_roles", stdout=io.StringIO())


def at_provider(client: Client, provider: Provider, wanted: str = JOBS) -> str:
    """Begin a sign-in and let the provider answer; return the address that it sends the browser to."""
    answer = client.get(BEGIN, {"next": wanted})
    assert answer.status_code == 302, answer.content.decode()
    return provider.visit(answer["Location"])


def sign_in(client: Client, provider: Provider, wanted: str = JOBS) -> Any:
    return client.get(at_provider(client, provider, wanted))


def is_in(client: Client) -> bool:
    return client.get(JOBS).status_code == 200


def roles_of(name: str) -> set[str]:
    return set(User.objects.get(username=name).groups.values_list("name", flat=True))


def lines() -> list[str]:
    return [entry.change_message for entry in LogEntry.objects.order_by("pk")]


def refused_for() -> list[str]:
    return list(Refusal.objects.order_by("pk").values_list("subject", flat=True))


def said(answer: Any) -> str:
    return str(answer.content.decode())


def test_first_sign_in_creates_an_account_with_the_roles_of_its_groups(
    client: Client, provider: Provider
) -> None:
    answer = sign_in(client, provider, f"{JOBS}?status=pending")

    assert (answer.status_code, answer["Location"]) == (302, f"{JOBS}?status=pending")
    assert is_in(client)
    ada = User.objects.get(username="ada")
    assert (ada.is_staff, ada.is_superuser, ada.has_usable_password()) == (True, False, False)
    assert roles_of("ada") == {"Viewer"}
    identity = SignInIdentity.objects.get(user=ada)
    assert identity.subject == "subject-1" and identity.signed_in_at is not None
    created, changed, logged_in = lines()
    assert created.startswith("Created at the first single sign-on of subject-1 at http://localhost")
    assert changed == "Single sign-on changed the roles: gave Viewer."
    assert logged_in == audit.LOGGED_IN
    how = audit.parts_of(LogEntry.objects.latest("pk")).result
    assert how.startswith("By single sign-on as subject-1 at http") and how.endswith("From 127.0.0.1.")


def test_login_page_offers_it_only_where_it_is_set_up(
    client: Client, provider: Provider, settings: Any
) -> None:
    page = said(client.get(LOG_IN, {"next": JOBS}))
    assert "Sign in with Acme login" in page and "/admin/oidc/begin/?next=%2Fadmin%2Fjobs" in page

    settings.OPSCONSOLE_OIDC_ROLES = {}

    assert "Acme login" not in said(client.get(LOG_IN))
    assert client.get(BEGIN).status_code == client.get(BACK).status_code == 404


def test_groups_are_read_again_at_each_sign_in(client: Client, provider: Provider) -> None:
    provider.claims["groups"] = ["console-viewers", "console-operators"]
    sign_in(client, provider)
    assert roles_of("ada") == {"Viewer", "Operator"}
    # Roles that somebody gave by hand are none of the provider's.
    User.objects.get(username="ada").groups.add(Group.objects.get(name="Administrator"))

    provider.claims["groups"] = ["console-operators"]
    assert sign_in(client, provider).status_code == 302

    assert roles_of("ada") == {"Operator"}
    assert "Single sign-on changed the roles: took Administrator, Viewer." in lines()


def test_without_a_group_nobody_gets_in_and_the_roles_are_gone(client: Client, provider: Provider) -> None:
    sign_in(client, provider)
    provider.claims["groups"] = ["cooks"]

    answer = sign_in(Client(), provider)

    assert answer.status_code == 403
    assert "None of your groups at the identity provider has a role in this console." in said(answer)
    assert roles_of("ada") == set()
    assert client.get(JOBS).status_code == 403, "the session of before has no role either"
    assert refused_for() == ["ada (subject-1): none of the groups has a role"]


def test_strangers_without_a_role_leave_no_account(client: Client, provider: Provider) -> None:
    none = "None of your groups"
    for groups, text in (
        (None, "did not say which groups you are in"),
        ([], none),
        (["console-ghosts"], none),
        ("cooks", none),
        ([{"name": "console-admins"}], none),
        ({"console-admins": True}, none),
    ):
        provider.claims["groups"] = groups
        answer = sign_in(client, provider)
        assert (answer.status_code, User.objects.count()) == (403, 0), groups
        assert text in said(answer)
    assert not SignInIdentity.objects.exists()
    assert not is_in(client)


def test_groups_may_be_told_by_userinfo_alone(client: Client, provider: Provider) -> None:
    provider.of_userinfo = {"groups": provider.claims.pop("groups"), "sub": "somebody-else"}
    assert sign_in(client, provider).status_code == 400
    provider.of_userinfo["sub"] = "subject-1"

    assert sign_in(client, provider).status_code == 302
    assert roles_of("ada") == {"Viewer"}


def test_nobody_becomes_superuser(client: Client, provider: Provider, settings: Any) -> None:
    settings.OPSCONSOLE_OIDC_ROLES = {"root": ["superuser", "is_superuser", "Administrator"]}
    provider.claims |= {"groups": ["root"], "is_superuser": True, "is_staff": True}

    assert sign_in(client, provider).status_code == 302

    assert not User.objects.filter(is_superuser=True).exists()
    assert roles_of("ada") == {"Administrator"}


def test_account_that_is_made_a_superuser_is_closed_to_single_sign_on(
    client: Client, provider: Provider
) -> None:
    sign_in(client, provider)
    User.objects.update(is_superuser=True)

    assert not is_in(client)
    answer = sign_in(client, provider)

    assert answer.status_code == 403 and "Superusers log in with their password only" in said(answer)


def test_account_is_not_taken_over_by_name_or_address(client: Client, provider: Provider) -> None:
    olga = people.operator()
    User.objects.update(email="ada@example.com")
    provider.claims["groups"] = ["console-admins"]
    for name in ("olga", "OLGA", "\uff4f\uff4c\uff47\uff41"):
        provider.claims["preferred_username"] = name
        answer = sign_in(client, provider)
        assert answer.status_code == 403 and "already has an account with your name" in said(answer)

    assert not is_in(client)
    waiting = SignInIdentity.objects.get()
    assert (waiting.user, waiting.email) == (None, "ada@example.com")
    olga.refresh_from_db()
    assert olga.has_usable_password() and not olga.groups.exists()
    assert User.objects.count() == 1

    provider.claims["preferred_username"] = "ada"
    assert sign_in(client, provider).status_code == 302
    assert User.objects.get(username="ada").email == olga.email, "an equal address says nothing"


def test_somebody_else_with_the_same_name_is_somebody_else(client: Client, provider: Provider) -> None:
    sign_in(client, provider)
    provider.claims["sub"] = "Subject-1"

    assert sign_in(Client(), provider).status_code == 403
    assert SignInIdentity.objects.filter(user=None).count() == 1


def test_renamed_person_keeps_the_account(client: Client, provider: Provider) -> None:
    sign_in(client, provider)
    provider.claims |= {"preferred_username": "countess", "email": "lovelace@example.com"}

    assert sign_in(client, provider).status_code == 302

    identity = SignInIdentity.objects.get()
    assert (identity.name, identity.user) == ("countess", User.objects.get(username="ada"))


def test_linked_account_signs_in_and_its_password_ends(client: Client, provider: Provider) -> None:
    vera = people.viewer()
    provider.claims["preferred_username"] = "vera"
    sign_in(client, provider)
    accounts.link(SignInIdentity.objects.get(), vera)

    assert sign_in(client, provider).status_code == 302

    assert client.session["_auth_user_id"] == str(vera.pk)
    with_password = Client().post(LOG_IN, {"username": "vera", "password": people.PASSWORD})
    assert with_password.status_code == 200, "the form again"
    accounts.unlink(SignInIdentity.objects.get())
    assert not is_in(client), "the session ends with the link"


def test_deactivated_account_stays_out(client: Client, provider: Provider) -> None:
    sign_in(client, provider)
    User.objects.update(is_active=False)

    assert not is_in(client)
    assert "is deactivated" in said(sign_in(client, provider))
    User.objects.update(is_active=True, is_staff=False)
    assert "may not open its pages" in said(sign_in(client, provider))


@pytest.mark.django_db(transaction=True)
def test_two_first_sign_ins_at_once_make_one_account(provider: Provider) -> None:
    # Read once before, because two at once may wait for the provider, and no more.
    clients = [Client(), Client()]
    addresses = [at_provider(client, provider) for client in clients]

    ways = zip(clients, addresses, strict=True)
    answers = race([partial(client.get, address) for client, address in ways])

    assert [answer.status_code for answer in answers] == [302, 302]
    assert User.objects.filter(username="ada").count() == SignInIdentity.objects.count() == 1


def test_second_factor_of_the_provider_counts_by_its_claim(
    client: Client, provider: Provider, settings: Any
) -> None:
    settings.OPSCONSOLE_SECOND_FACTOR = "required"
    provider.changes = {"amr": ["pwd", "mfa"]}
    sign_in(client, provider)
    assert is_in(client)
    assert "second factor there: amr=mfa" in audit.parts_of(LogEntry.objects.latest("pk")).result
    assert provider.authorized[-1]["acr_values"] == "gold"

    provider.changes = {"amr": ["pwd"], "acr": "silver"}
    sign_in(client, provider)
    assert client.get(JOBS).status_code == 302, "the console's own is asked for"
    assert client.get(LOG_IN, follow=True).redirect_chain[-1][0] == reverse("second_factor")

    provider.changes = {"acr": "gold"}
    sign_in(client, provider)
    assert is_in(client)


def test_other_claims_are_no_second_factor(client: Client, provider: Provider, settings: Any) -> None:
    settings.OPSCONSOLE_SECOND_FACTOR = "required"
    for claim in ("mfa", ["MFA"], [["gold"]], {"gold": 1}, None, 1):
        provider.changes = {"acr": claim}
        sign_in(client, provider)
        assert not is_in(client), claim


def test_log_out_ends_the_session_here_and_leads_to_the_provider(client: Client, provider: Provider) -> None:
    sign_in(client, provider)

    page = said(client.post(reverse("admin:logout")))

    assert not is_in(client)
    [address] = {part.split('"')[0] for part in page.split("0;url=")[1:]}
    back = provider.visit(address.replace("&amp;", "&"))
    assert back.startswith("http://testserver/admin/login/?state=")
    [ended] = provider.ended
    assert ended["client_id"] == identity_provider.CLIENT_ID and ended["id_token_hint"].count(".") == 2
    assert lines()[-1] == audit.LOGGED_OUT


def test_log_out_here_works_without_the_provider(client: Client, provider: Provider) -> None:
    sign_in(client, provider)
    from opsconsole.sign_in.oidc import provider as known

    known.forget()
    provider.fails["/.well-known/openid-configuration"] = 500

    page = said(client.post(reverse("admin:logout")))

    assert "You may still be signed in at Acme login" in page and "refresh" not in page
    assert not is_in(client)


def test_log_out_of_a_password_session_stays_here(client: Client, provider: Provider) -> None:
    people.viewer()
    client.post(LOG_IN, {"username": "vera", "password": people.PASSWORD})

    assert "Acme login" not in said(client.post(reverse("admin:logout")))
    assert lines()[0] == audit.LOGGED_IN_BESIDE, "the way in beside single sign-on is named in the audit"
    assert provider.asked == []


def test_log_in_with_a_password_raises_an_alert_until_an_hour_has_passed(
    client: Client, provider: Provider, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    people.viewer()
    for _ in range(2):
        client.post(LOG_IN, {"username": "vera", "password": people.PASSWORD})
        client.post(reverse("admin:logout"))
    assert local_log_ins.watch() == "2 local logins"
    [alert] = Alert.objects.open()
    assert (alert.fingerprint, alert.severity, alert.facts) == (
        "local_log_ins",
        "warning",
        [["vera", "2 logins"]],
    )
    # The audit can't be changed, so the hour is.
    monkeypatch.setattr(local_log_ins, "HOUR", timedelta(0))
    assert local_log_ins.watch() == "0 local logins"
    assert Alert.objects.open().get().clear_since
    settings.OPSCONSOLE_OIDC_ISSUER = ""
    assert local_log_ins.watch() == "no single sign-on"
    assert not Alert.objects.open().exists()


def test_log_in_under_another_name_is_told_although_the_alert_is_open(
    client: Client, provider: Provider
) -> None:
    rule = rules.by_name("local_log_ins")
    rule.news_interval = timedelta(0)
    rule.save()

    def watched_log_in(name: str) -> list[tuple[str, str]]:
        client.post(LOG_IN, {"username": name, "password": people.PASSWORD})
        client.post(reverse("admin:logout"))
        for _ in range(2):
            local_log_ins.watch()
        return list(Notification.objects.values_list("kind", "news"))

    people.viewer("max"), people.viewer("vera")
    assert watched_log_in("vera") == [("firing", "")]
    operator_decisions.acknowledge(Alert.objects.open().get().pk, "ada", "she did it herself")
    assert watched_log_in("vera") == [("firing", "")], "acknowledged"
    told = watched_log_in("max")
    assert told == [("firing", ""), ("news", "max: 1 login. vera: 1 login.")]
    assert Alert.objects.open().get().state == "firing"
    assert watched_log_in("vera") == [*told, ("news", "vera: 1 login.")]


def test_nobody_is_sent_to_another_site(client: Client, provider: Provider) -> None:
    for wanted in (
        "https://evil.example/",
        "//evil.example",
        "/\\evil.example",
        "javascript:alert(1)",
        "http:///evil.example",
        "",
        f"{JOBS}?q={'x' * 3_000}",
    ):
        back = at_provider(client, provider, wanted)
        assert client.get(back)["Location"] == OVERVIEW, wanted


def test_completed_sign_in_is_not_completed_again(client: Client, provider: Provider) -> None:
    back = at_provider(client, provider)
    kept = dict(client.cookies)
    assert client.get(back).status_code == 302
    # The browser has forgotten it; somebody else kept it.
    assert client.get(back).status_code == 400
    thief = Client()
    thief.cookies.load({name: morsel.value for name, morsel in kept.items()})
    state = parse_qs(urlsplit(back).query)["state"][0]
    fresh = provider.code(provider.authorized[-1])
    assert parse_qs(urlsplit(fresh).query)["state"] == [state]

    answer = thief.get(fresh)

    assert answer.status_code == 400 and "was completed already" in said(answer)
    assert provider.tokens_sent == 2 and not is_in(thief)
    assert CompletedSignIn.objects.count() == 1


def test_state_of_another_browser_or_none_is_refused(client: Client, provider: Provider) -> None:
    back = at_provider(client, provider)

    assert Client().get(back).status_code == 400
    for query in (
        "",
        "?code=1",
        "?state=&code=1",
        "?state=x&code=1",
        "?error=access_denied&error_description=Call+us",
    ):
        answer = client.get(BACK + query)
        assert answer.status_code == 400 and "Call us" not in said(answer)
    assert provider.tokens_sent == 0
    assert client.get(back).status_code == 302, "that others failed changes nothing"


def test_begun_sign_in_is_void_after_a_while(
    client: Client, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    back = at_provider(client, provider)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + begun.LASTS.total_seconds() + 5)

    assert client.get(back).status_code == 400


def test_several_tabs_sign_in_and_cookies_stay_few(client: Client, provider: Provider) -> None:
    first, second = at_provider(client, provider), at_provider(client, provider, OVERVIEW)
    assert client.get(second)["Location"] == OVERVIEW
    assert client.get(first)["Location"] == JOBS
    for _ in range(8):
        at_provider(client, provider)
    alive = [
        morsel for name, morsel in client.cookies.items() if name.startswith(begun.COOKIE) and morsel.value
    ]
    assert len(alive) <= begun.MOST + 1


def test_denial_at_the_provider_is_told(client: Client, provider: Provider) -> None:
    state = parse_qs(urlsplit(at_provider(client, provider)).query)["state"][0]

    answer = client.get(BACK, {"state": state, "error": "access_denied", "error_description": "<b>Call us"})

    assert answer.status_code == 403 and "it refused, or the sign-in was cancelled" in said(answer)
    assert "Call us" not in said(answer)


FORGED: list[tuple[str, dict[str, Any], Any]] = [
    ("wrong nonce", {"nonce": "of another sign-in"}, None),
    ("no nonce", {"nonce": None}, None),
    ("wrong audience", {"aud": "another-client"}, None),
    ("no audience", {"aud": None}, None),
    ("several audiences, and issued to another", {"aud": ["ops-console", "other"], "azp": "other"}, None),
    ("several audiences, and issued to nobody", {"aud": ["ops-console", "other"]}, None),
    ("wrong issuer", {"iss": "https://evil.example"}, None),
    ("no issuer", {"iss": None}, None),
    ("expired", {"exp": 1_700_000_000}, None),
    ("never expires", {"exp": None}, None),
    ("issued in the future", {"iat": 9_000_000_000, "exp": 9_000_000_300}, None),
    ("valid later", {"nbf": 9_000_000_000}, None),
    ("no subject", {"sub": None}, None),
    ("empty subject", {"sub": ""}, None),
    ("a number as subject", {"sub": 7}, None),
    ("a subject that can't be stored", {"sub": "a\x00b"}, None),
    ("algorithm none", {}, identity_provider.unsigned),
    ("signed with the client's secret", {}, identity_provider.signed_with_secret),
    ("signed with the public key", {}, identity_provider.signed_with_public_key),
    ("signed by another", {}, identity_provider.signed_by_another),
    ("no token", {}, lambda *_: "x"),
    ("an empty token", {}, lambda *_: ""),
]


def test_forged_token_signs_nobody_in(client: Client, provider: Provider) -> None:
    for what, changes, sign in FORGED:
        provider.changes, provider.sign = changes, sign
        answer = sign_in(client, provider)
        assert answer.status_code == 400, what
        assert "could not be trusted" in said(answer), what
    assert not User.objects.exists() and not is_in(client)
    assert refused_for() == ["the provider's answer is not to be trusted"]
    assert Refusal.objects.get().times == len(FORGED) == provider.tokens_sent


def test_clocks_may_differ_a_little(client: Client, provider: Provider) -> None:
    now = int(time.time())
    provider.changes = {"exp": now - 20, "iat": now + 20}

    assert sign_in(client, provider).status_code == 302


def test_new_key_of_the_provider_is_found(client: Client, provider: Provider) -> None:
    sign_in(client, provider)
    provider.key = 2

    assert sign_in(client, provider).status_code == 302
    assert provider.asked.count("/keys") == 2
    sign_in(client, provider)
    assert provider.asked.count("/keys") == 2, "it is kept"
    assert provider.asked.count("/.well-known/openid-configuration") == 1


def test_answer_of_another_issuer_is_refused(client: Client, provider: Provider) -> None:
    back = at_provider(client, provider)

    assert client.get(f"{back}&iss=https://evil.example").status_code == 400
    assert provider.tokens_sent == 0
