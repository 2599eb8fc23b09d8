"""What the provider's claims say of a person: name, groups, and whether there was a second factor. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.contrib.auth.models import User
from django.contrib.auth.validators import UnicodeUsernameValidator
from django.core.exceptions import ValidationError

from opsconsole.kit.storable import is_storable, plain_text
from opsconsole.sign_in.oidc.configuration import Configuration

LONGEST_NAME = 150
LONGEST_SUBJECT = 255
LONGEST_SHOWN = 200
Claims = Mapping[str, Any]


@dataclass(frozen=True)
class Person:
    """Somebody at the provider. ``roles`` None: the provider did not tell the groups. ``second_factor``: what proves it, or "".

    ``session``: how the provider calls its own session, or "".
    """

    issuer: str
    subject: str
    username: str
    name: str
    email: str
    roles: frozenset[str] | None
    second_factor: str = ""
    session: str = ""


def read(claims: Claims, configuration: Configuration) -> Person:
    """Return the person that checked claims are about."""
    groups = groups_in(claims, configuration.groups_claim)
    subject = str(claims["sub"])
    return Person(
        issuer=configuration.issuer,
        subject=subject,
        username=_username(claims, configuration.username_claim, subject),
        name=_text(claims, configuration.username_claim) or _text(claims, "name"),
        email=_text(claims, "email"),
        roles=None if groups is None else roles_of(groups, configuration.roles),
        second_factor=second_factor_in(claims, configuration.second_factor),
        session=_session(claims.get("sid")),
    )


def _session(name: object) -> str:
    return name if isinstance(name, str) and len(name) <= LONGEST_SUBJECT and is_storable(name) else ""


def has_usable_subject(claims: Claims) -> bool:
    """Tell whether the subject can be kept as it is: what is changed on its way could become somebody else."""
    subject = claims.get("sub")
    return isinstance(subject, str) and 0 < len(subject) <= LONGEST_SUBJECT and is_storable(subject)


def groups_in(claims: Claims, name: str) -> list[str] | None:
    """Return the groups in the claim of this name, or None where there is no such claim.

    A dotted name such as 'realm_access.roles' leads into objects, unless a claim has exactly that name. An address that
    the provider has not verified is no group: whoever types it would choose their own role.
    """
    value: Any = claims.get(name)
    if value is None:
        value = claims
        for key in name.split("."):
            value = value.get(key) if isinstance(value, Mapping) else None
    if value is None or (name == "email" and claims.get("email_verified") is not True):
        return None
    return [each for each in (value if isinstance(value, list) else [value]) if isinstance(each, str)]


def roles_of(groups: list[str], mapped: Mapping[str, list[str]]) -> frozenset[str]:
    return frozenset(role for group in groups for role in mapped.get(group, ()))


def second_factor_in(claims: Claims, accepted: Mapping[str, list[str]]) -> str:
    """Return the claim and value that prove a second factor, such as 'amr=mfa', or an empty string."""
    for name, values in accepted.items():
        claim = claims.get(name)
        for each in claim if isinstance(claim, list) else [claim]:
            if isinstance(each, str) and each in values:
                return f"{name}={each}"
    return ""


def _username(claims: Claims, claim: str, subject: str) -> str:
    """Return the first of the claims that can be the name of an account."""
    for wanted in (claims.get(claim), claims.get("email"), subject):
        name = User.normalize_username(wanted) if isinstance(wanted, str) else ""
        if name and len(name) <= LONGEST_NAME and is_storable(name) and _is_username(name):
            return name
    return ""


def _is_username(name: str) -> bool:
    try:
        UnicodeUsernameValidator()(name)
    except ValidationError:
        return False
    return True


def _text(claims: Claims, name: str) -> str:
    value = claims.get(name)
    return plain_text(value)[:LONGEST_SHOWN] if isinstance(value, str) else ""
