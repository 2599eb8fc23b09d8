"""From a person at the provider to an account here: who gets in, with which roles, and what is written down.

An identity is an issuer and a subject. An account of the same name or address is never taken for that person's: it has to be
linked by an administrator. The roles of an account with an identity are those that the provider's groups give, and no others.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

from django.contrib.auth.models import Group, User
from django.db import IntegrityError, transaction
from django.db.models.functions import Now

from opsconsole.kit import audit
from opsconsole.kit.identity_models import SignInIdentity
from opsconsole.kit.row_locks import locked
from opsconsole.sign_in.oidc.claims import Person

logger = logging.getLogger(__name__)


class Refused(Enum):
    """Why somebody whom the provider vouches for does not get in: for the audit, and what the page says and advises."""

    UNTOLD = (
        "the provider told no groups",
        "The identity provider did not say which groups you are in, so the console can’t know your role.",
        "Ask an administrator of the console to check OPSCONSOLE_OIDC_GROUPS_CLAIM and OPSCONSOLE_OIDC_SCOPES.",
    )
    NO_ROLE = (
        "none of the groups has a role",
        "None of your groups at the identity provider has a role in this console.",
        "Ask whoever manages the groups to add you to one that has, and sign in again.",
    )
    INACTIVE = (
        "the account is deactivated",
        "Your account in this console is deactivated.",
        "Ask an administrator of the console.",
    )
    NOT_STAFF = (
        "the account may not open pages",
        "Your account in this console may not open its pages.",
        "Ask an administrator of the console to give it “staff status”.",
    )
    SUPERUSER = (
        "the account is a superuser's",
        "Your account in this console is a superuser’s. Superusers log in with their password only.",
        "Log in with the password, or ask for an account that is none of a superuser.",
    )
    TAKEN = (
        "an account of this name exists",
        "The console already has an account with your name, which is not linked to you at the identity provider.",
        "Ask an administrator of the console to link it, on the page Sign-in identities.",
    )
    NAMELESS = (
        "no claim can be the name of an account",
        "The identity provider told no name that an account of this console can have.",
        "Ask an administrator of the console to set OPSCONSOLE_OIDC_USERNAME_CLAIM.",
    )

    def __init__(self, reason: str, sentence: str, advice: str) -> None:
        self.reason = reason
        self.sentence = sentence
        self.advice = advice


@dataclass(frozen=True)
class Admission:
    """The account that may log in, or why it may not."""

    user: User | None
    refused: Refused | None = None


def refusal(person: Person, account: User | None, *, name_taken: bool) -> Refused | None:
    """Return why this person does not get in, or None. Pure. ``account``: the one that is linked to them."""
    if account is not None and account.is_superuser:
        return Refused.SUPERUSER
    if not person.roles:
        return Refused.UNTOLD if person.roles is None else Refused.NO_ROLE
    if account is None:
        return _refusal_of_stranger(person, name_taken=name_taken)
    if not account.is_active:
        return Refused.INACTIVE
    return None if account.is_staff else Refused.NOT_STAFF


def _refusal_of_stranger(person: Person, *, name_taken: bool) -> Refused | None:
    if not person.username:
        return Refused.NAMELESS
    return Refused.TAKEN if name_taken else None


def admit(person: Person, address: str) -> Admission:
    """Return the account of this person with its roles as of now; create one where there is none. ``address``: of the client."""
    try:
        return _admit(person, address)
    except IntegrityError:
        # Two first sign-ins of one person at once: the other has created the account meanwhile.
        return _admit(person, address)


@transaction.atomic
def _admit(person: Person, address: str) -> Admission:
    # Only roles that exist count: a name in the settings that is none of them gives nothing.
    roles = list(Group.objects.filter(name__in=person.roles or ()).order_by("name"))
    person = _with_existing(person, roles)
    identity = _identity(person)
    account = _account(identity)
    taken = account is None and User.objects.filter(username__iexact=person.username).exists()
    refused = refusal(person, account, name_taken=taken)
    if refused is None:
        account = account or _create(person, address)
        _keep(person, user=account, signed_in_at=Now())
    elif refused is Refused.TAKEN:
        _keep(person)
    if account is not None and not account.is_superuser:
        _give(account, roles, person)
    return Admission(None if refused else account, refused)


def account_named_by(person: Person) -> User | None:
    """Return the account that this person's identity belongs to, for a line about a refusal."""
    return User.objects.filter(identity__issuer=person.issuer, identity__subject=person.subject).first()


def link(identity: SignInIdentity, account: User) -> None:
    """Let this identity sign in to an account that existed. Its password ends, so that leaving the provider ends the access."""
    SignInIdentity.objects.filter(pk=identity.pk).update(user=account)
    account.set_unusable_password()
    account.save(update_fields=["password"])


def unlink(identity: SignInIdentity) -> None:
    """Take the account away from this identity; sessions that it opened end."""
    SignInIdentity.objects.filter(pk=identity.pk).update(user=None)


def _with_existing(person: Person, roles: list[Group]) -> Person:
    if person.roles is None:
        return person
    existing = frozenset(role.name for role in roles)
    if unknown := person.roles - existing:
        logger.warning("OPSCONSOLE_OIDC_ROLES names roles that don't exist: %s", ", ".join(sorted(unknown)))
    return replace(person, roles=existing)


def _identity(person: Person) -> SignInIdentity | None:
    mine = SignInIdentity.objects.filter(issuer=person.issuer, subject=person.subject)
    return locked(mine).first()


def _account(identity: SignInIdentity | None) -> User | None:
    if identity is None or identity.user_id is None:
        return None
    return locked(User.objects.filter(pk=identity.user_id)).get()


def _keep(person: Person, **changes: Any) -> None:
    """Store who this is, also somebody who waits for an administrator."""
    mine, _ = SignInIdentity.objects.get_or_create(issuer=person.issuer, subject=person.subject)
    names = {"name": person.name or person.username, "email": person.email}
    SignInIdentity.objects.filter(pk=mine.pk).update(**names, **changes)


def _create(person: Person, address: str) -> User:
    """Create an account without a password that may open pages; its roles follow."""
    account = User(username=person.username, email=person.email, is_staff=True)
    account.set_unusable_password()
    account.save()
    did = f"Created at the first single sign-on of {person.subject} at {person.issuer}."
    audit.log(account, [account], did, why=audit.NOT_ASKED, result=f"From {address or 'nowhere'}.")
    return account


def _give(account: User, roles: list[Group], person: Person) -> None:
    """Let the account have these roles and no others."""
    before = set(account.groups.values_list("name", flat=True))
    after = {role.name for role in roles}
    if before == after:
        return
    account.groups.set(roles)
    changes = [f"gave {', '.join(sorted(after - before))}"] if after - before else []
    changes += [f"took {', '.join(sorted(before - after))}"] if before - after else []
    did = f"Single sign-on changed the roles: {'; '.join(changes)}."
    audit.log(account, [account], did, why=audit.NOT_ASKED, result=f"By the groups at {person.issuer}.")
