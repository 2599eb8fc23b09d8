"""The names of clients: from a search term to the keys that records use, and from keys back to names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.contrib.auth import get_user_model
from django.db.models import Q, QuerySet, TextField, Value
from django.db.models.functions import Cast, Concat

from opsconsole.kit import one_statement
from opsconsole.kit.one_statement import (
    Reading,
    Steps,
    column_of,
    exists_of,
    models_of,
    records_of,
    side_by_side,
)
from opsconsole.kit.storable import plain_text
from ratelimits.identity import client_ip
from ratelimits.models import ApiKey, RateLimitHour, RateLimitRequest

MAX_MATCHES = 20


@dataclass(frozen=True)
class NamedClient:
    """A client's key in the records, and its name."""

    key: str
    name: str


def find(term: str, *, sees_api_keys: bool = True, sees_users: bool = True) -> list[NamedClient]:
    """Find the clients that a search term may mean, by two statements."""
    [found] = side_by_side([finding(term, sees_api_keys=sees_api_keys, sees_users=sees_users)])
    return found


def finding(term: str, *, sees_api_keys: bool = True, sees_users: bool = True) -> Steps[list[NamedClient]]:
    """Find the clients that a search term may mean.

    The term may be an address, a user's name, an API key's name, id or last characters, or a key of the records.
    Without ``sees_api_keys`` an API key is neither found nor called by what its own page shows. Without ``sees_users``
    a user is found only once a request was counted: the list of all users is another page.
    """
    term = plain_text(term).strip()[:200]
    if not term:
        return []
    api_keys = _api_keys(term) if sees_api_keys else ApiKey.objects.none()
    read = yield {
        "users": column_of(_keys("user:", get_user_model().objects.filter(username__iexact=term))),
        "api_keys": column_of(_keys("key:", api_keys)),
    }
    keys = [*_address_keys(term), *read["users"], *read["api_keys"], *_literal_keys(term)]
    keys = [key for key in keys if may_name(key, sees_users=sees_users)]
    read = yield _owners(keys, sees_api_keys=sees_api_keys)
    return [NamedClient(key, name) for key, name in _names(keys, read).items()]


def may_name(key: str, *, sees_users: bool) -> bool:
    """Tell whether a person who may or may not see users may learn the name that belongs to a key that they entered."""
    return sees_users or not key.startswith("user:") or was_counted(key)


def was_counted(key: str) -> bool:
    """Tell whether a request of this client was counted, lately or in the hours that are kept."""
    recent, hours = RateLimitRequest.objects.filter(key=key), RateLimitHour.objects.of_client(key)
    return any(one_statement.read(recent=exists_of(recent), hours=exists_of(hours)).values())


def _address_keys(term: str) -> list[str]:
    """Return the keys for an address in any notation or a /64 network, including those for other services."""
    address = client_ip.parse(term.partition("/")[0])
    if address is None:
        return []
    group = client_ip.group(address)
    return [f"address:{group}", f"check:address:{group}", f"check:{group}"]


def _api_keys(term: str) -> QuerySet[ApiKey]:
    matches_term = Q(name__icontains=term) | Q(hint=term)
    if key_id := _uuid(term):
        matches_term |= Q(pk=key_id)
    return ApiKey.objects.filter(matches_term)


def _keys(kind: str, rows: QuerySet[Any]) -> QuerySet[Any, str]:
    key = Concat(Value(kind), Cast("pk", TextField()), output_field=TextField())
    return rows.values_list(key, flat=True)[:MAX_MATCHES]


def _literal_keys(term: str) -> list[str]:
    return [term] if term.startswith(("address:", "user:", "key:", "check:")) else [f"check:{term}"]


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def names(keys: Iterable[str], *, sees_api_keys: bool = True) -> dict[str, str]:
    """Return the name for each of these keys, by one statement."""
    keys = list(keys)
    return _names(keys, one_statement.read(**_owners(keys, sees_api_keys=sees_api_keys)))


def _owners(keys: Sequence[str], *, sees_api_keys: bool) -> dict[str, Reading[Any]]:
    """Read the users and the API keys that these keys are about."""
    ids = {int(key[5:]) for key in keys if key.startswith("user:") and key[5:].isdecimal()}
    uuids = {key_id for key in keys if key.startswith("key:") and (key_id := _uuid(key[4:]))}
    return {
        "users": records_of(get_user_model().objects.filter(pk__in=ids).values_list("pk", "username")),
        "api_keys": models_of(ApiKey.objects.filter(pk__in=uuids if sees_api_keys else ())),
    }


def _names(keys: Sequence[str], owners: Mapping[str, Any]) -> dict[str, str]:
    """Return the name for each key, given what ``_owners`` read."""
    users, api_keys = dict(owners["users"]), {row.pk: row for row in owners["api_keys"]}
    return {key: _name(key, users, api_keys) for key in keys}


def _name(key: str, users: Mapping[int, str], api_keys: Mapping[UUID, ApiKey]) -> str:
    kind, _, value = key.partition(":")
    if kind == "user" and value.isdecimal():
        return f"user {users.get(int(value), value)}"
    if kind == "key" and (pk := _uuid(value)):
        return f"API key {api_keys.get(pk, value)}"
    if kind == "check":
        return f"{_named_by_others(value)} (of another service)"
    return value or key


def _named_by_others(identity: str) -> str:
    """Return what another service calls its client: an address by itself, and an identity that only looks like one as such."""
    looks_like_address = client_ip.parse(identity.partition("/")[0]) is not None
    return f"identity “{identity}”" if looks_like_address else identity.removeprefix("address:")
