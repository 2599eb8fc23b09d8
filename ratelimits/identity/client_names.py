"""Clients as people know them: from what somebody types to the keys of the records, and back to names."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.contrib.auth import get_user_model
from django.db.models import Q, QuerySet, TextField, Value
from django.db.models.functions import Cast, Concat

from ratelimits.identity import client_ip
from ratelimits.models import ApiKey

MOST_FOUND = 20


@dataclass(frozen=True)
class Found:
    """A client that a search term may mean: its key in the records, and what it is called."""

    key: str
    name: str


def find(term: str) -> list[Found]:
    """Whom an address, a user's name, an API key's name, id or last characters, or a key of the records may mean."""
    term = term.strip().replace("\x00", "")[:200]
    if not term:
        return []
    keys = [*_addresses(term), *_users_and_api_keys(term), *_as_it_stands(term)]
    named = names(keys)
    return [Found(key, named[key]) for key in dict.fromkeys(keys)]


def _addresses(term: str) -> list[str]:
    """An address in any notation, or a /64; also as another service may have asked about it."""
    address = client_ip.parse(term.partition("/")[0])
    if address is None:
        return []
    group = client_ip.group(address)
    return [f"address:{group}", f"check:address:{group}", f"check:{group}"]


def _users_and_api_keys(term: str) -> list[str]:
    by = Q(name__icontains=term) | Q(hint=term)
    if as_uuid := _uuid(term):
        by |= Q(pk=as_uuid)
    users = _keys("user:", get_user_model().objects.filter(username__iexact=term))
    return list(users.union(_keys("key:", ApiKey.objects.filter(by)), all=True))


def _keys(kind: str, rows: QuerySet[Any]) -> QuerySet[Any, str]:
    key = Concat(Value(kind), Cast("pk", TextField()), output_field=TextField())
    return rows.values_list(key, flat=True)[:MOST_FOUND]


def _as_it_stands(term: str) -> list[str]:
    return [term] if term.startswith(("address:", "user:", "key:", "check:")) else [f"check:{term}"]


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def names(keys: Iterable[str]) -> dict[str, str]:
    """What each of these keys is called, in two queries."""
    keys = list(keys)
    ids = {int(key[5:]) for key in keys if key.startswith("user:") and key[5:].isdecimal()}
    users = dict(get_user_model().objects.filter(pk__in=ids).values_list("pk", "username"))
    uuids = {found for key in keys if key.startswith("key:") and (found := _uuid(key[4:]))}
    api_keys = ApiKey.objects.in_bulk(uuids)
    return {key: _name(key, users, api_keys) for key in keys}


def _name(key: str, users: dict[int, str], api_keys: dict[UUID, ApiKey]) -> str:
    kind, _, value = key.partition(":")
    if kind == "user" and value.isdecimal():
        return f"user {users.get(int(value), value)}"
    if kind == "key" and (pk := _uuid(value)):
        return f"API key {api_keys.get(pk, value)}"
    if kind == "check":
        return f"{value.removeprefix('address:')}, of another service"
    return value or key
