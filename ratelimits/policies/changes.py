"""Changes of policies from the shell: the same rules as in the admin, also while nobody gets into it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction

from opsconsole.kit import audit, form_versions, reasons
from opsconsole.kit.audit import AuditParts
from opsconsole.kit.errors import OpsConsoleError
from opsconsole.kit.row_locks import locked
from ratelimits.models import LimiterControl, Policy
from ratelimits.policies import policy_cache
from ratelimits.policies.policy_snapshot import PolicySnapshot, snapshot_of

FIELDS = (
    "limit",
    "window_seconds",
    "mode",
    "path_prefixes",
    "methods",
    "position",
    "key",
    "allow_networks",
    "deny_networks",
    "algorithm",
    "when_store_is_away",
)
LISTS = {"path_prefixes", "methods", "allow_networks", "deny_networks"}
NUMBERS = {"limit", "window_seconds", "position"}
# Refuses a change of a policy, from its snapshots before and after, by raising.
Check = Callable[[PolicySnapshot, PolicySnapshot], None]
# Writes the line of the audit about a policy, from what was done.
Log = Callable[[Policy, str], None]


class ChangeRefused(OpsConsoleError):
    """The policy was not changed; the message says why."""


class ValueRefused(ChangeRefused):
    """A field does not exist or can't have this value, whatever policies there are."""


def change(name: str, values: Mapping[str, Any], *, by: str, reason: str, check: Check) -> str:
    """Change these fields of a policy with a command and return what differs, which is '' if nothing does. The audit says so.

    ``values`` are texts, lists separated by commas. Raise ``ChangeRefused`` for an unknown policy, field or value, and without
    a reason; ``check`` raises what it likes.
    """
    reason = reasons.required(reason, ChangeRefused)
    read = {field: _read(field, text) for field, text in values.items()}

    def log(policy: Policy, did: str) -> None:
        parts = AuditParts(f"{did}. By {by} with a command.", reason)
        actor = audit.command_actor(by)
        audit.log_of(audit.account_of(by).pk, Policy, str(policy.pk), policy.name, parts, actor=actor)

    return write(name, read, by=by, check=check, log=log)


def write(name: str, values: Mapping[str, Any], *, by: str, check: Check, log: Log) -> str:
    """Write these values of a policy's fields and return what differs, which is '' if nothing does.

    Raise ``ChangeRefused`` for an unknown policy and for a value that its page would refuse; ``check`` raises what it likes.
    """
    with transaction.atomic():
        policy = locked(Policy.objects.filter(name=name)).first()
        if policy is None:
            names = ", ".join(Policy.objects.order_by("name").values_list("name", flat=True))
            raise ChangeRefused(f"There is no policy '{name}'. Policies: {names}. Nothing was changed.")
        earlier, before = snapshot_of(policy), form_versions.of_row(policy, FIELDS)
        for field, value in values.items():
            setattr(policy, field, value)
        _validate(policy)
        check(earlier, snapshot_of(policy))
        policy.changed_by = by
        policy.save()
        policy.refresh_from_db()
        after = form_versions.of_row(policy, FIELDS)
        if before == after:
            transaction.set_rollback(True)
            return ""
        fields = Policy._meta.concrete_fields  # noqa: SLF001 - documented
        labels = {field.name: str(field.verbose_name).capitalize() for field in fields}
        did = form_versions.difference(before, after, labels)
        log(policy, did)
    policy_cache.clear()
    return did


def log_mode(by: str, before: str, after: str, reason: str) -> None:
    """Write the audit of a change of the global mode with a command."""
    parts = AuditParts(f"Mode: {before} to {after}. By {by} with a command.", reason)
    actor = audit.command_actor(by)
    audit.log_of(audit.account_of(by).pk, LimiterControl, "1", "limiter", parts, actor=actor)


def _read(field: str, text: Any) -> Any:
    if field not in FIELDS:
        raise ValueRefused(f"There is no field '{field}'. Fields: {', '.join(FIELDS)}. Nothing was changed.")
    if field in LISTS:
        words = [word.strip() for word in str(text).split(",") if word.strip()]
        return [word.upper() for word in words] if field == "methods" else words
    if field in NUMBERS:
        try:
            return int(text)
        except ValueError as error:
            raise ValueRefused(
                f"'{text}' is not a whole number, as {field} needs. Nothing was changed."
            ) from error
    return str(text)


def _validate(policy: Policy) -> None:
    try:
        policy.full_clean()
    except ValidationError as error:
        problems = "; ".join(f"{field}: {' '.join(found)}" for field, found in error.message_dict.items())
        raise ValueRefused(f"{problems} Nothing was changed.") from error
