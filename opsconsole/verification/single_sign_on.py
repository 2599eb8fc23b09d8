"""The check of single sign-on: can the identity provider be used, and do the roles exist that its groups give?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.conf import settings
from django.contrib.auth.models import Group

from opsconsole.sign_in.oidc import configuration, provider
from opsconsole.sign_in.oidc.errors import ProviderAway
from opsconsole.verification.check import Judgement, Problem, Wishes, of, skipped, wrong

REACH = "Check OPSCONSOLE_OIDC_ISSUER, and that this host reaches it: docs/single-sign-on.md says where each value is found."


def provider_can_be_used(_: Wishes) -> Judgement:
    """Read the discovery document and the keys as they are now, and compare them with the settings."""
    if not configuration.is_on():
        return skipped("Single sign-on is not set up.", "See docs/single-sign-on.md, if people shall use it.")
    issuer = settings.OPSCONSOLE_OIDC_ISSUER
    try:
        found = provider.read_anew(issuer)
    except ProviderAway as error:
        return wrong(f"The identity provider {issuer} can't be used: {error}.", REACH)
    fine = f"{issuer} answers, has keys and takes part in PKCE; the roles of its groups exist."
    return of(_problems(found), fine=fine)


def _problems(document: dict[str, Any]) -> Iterator[Problem]:
    try:
        keys = provider.keys_of(document)
    except ProviderAway as error:
        keys = 0
        yield Problem(f"Its keys can't be read: {error}.", "Ask who runs the provider.")
    else:
        if not keys:
            yield Problem("It publishes no keys.", "Ask who runs the provider.")
    ways = document.get("code_challenge_methods_supported")
    if isinstance(ways, list) and "S256" not in ways:
        yield Problem("It does not take part in PKCE with S256.", "Allow it for this client at the provider.")
    named = {role for roles in configuration.current().roles.values() for role in roles}
    unknown = named - set(Group.objects.filter(name__in=named).values_list("name", flat=True))
    if unknown:
        yield Problem(
            f"OPSCONSOLE_OIDC_ROLES names roles that don't exist: {', '.join(sorted(unknown))}.",
            "Correct the names, or add the roles on the page Groups.",
        )
