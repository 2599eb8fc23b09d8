"""The command that lists, creates and revokes API keys."""

from __future__ import annotations

import uuid
from typing import Any, ClassVar

from django.contrib.auth.models import User
from django.core.management.base import CommandError, CommandParser
from django.db import transaction
from django.db.models import Q

from opsconsole.kit import audit, commands
from opsconsole.kit.command_arguments import could_not, required_reason, wrong
from opsconsole.kit.counting import exactly
from opsconsole.kit.errors import OpsConsoleError
from opsconsole.kit.kept_changes import Kept, OutcomeUnknown
from ratelimits.admin.key_forms import KeyForm
from ratelimits.keys import api_keys, operator_scopes
from ratelimits.models import ApiKey, Scope

KEY_FIELDS = ("created_at", "expires_at", "last_used_at", "revoked_at")


class Command(commands.ConsoleCommand):
    help = "List, create and revoke API keys, as the page API keys does. A new key is printed once and cannot be read again."
    examples = (
        "api_keys list --json",
        'api_keys create "shop, production" --scope jobs:write --expires 2027-03-31 --reason "the shop submits jobs"',
        'api_keys create "worker, blue" --scope worker --succeeds "worker, green" --reason "rotation"',
        'api_keys create "deploys" --scope pauses:operate --account olga --reason "pauses recovery during a deploy"',
        'api_keys revoke "worker, green" --reason "rotated"',
    )
    exit_codes: ClassVar = {1: "refused; a sentence says why"}

    def add_arguments(self, parser: CommandParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        listing = actions.add_parser("list", help="list valid keys; changes nothing")
        listing.add_argument("--all", action="store_true", help="also expired and revoked ones")
        create = actions.add_parser("create", help="create a key and print it")
        create.add_argument("name", help="who will use it, such as 'shop, production'")
        create.add_argument(
            "--scope",
            action="append",
            required=True,
            choices=Scope.values,
            help="what it may do; may be repeated",
        )
        create.add_argument(
            "--policy", default="api-key", help="the policy that limits it (default: api-key)"
        )
        create.add_argument("--expires", metavar="DAY", help="its last day in UTC, such as 2027-03-31")
        create.add_argument(
            "--succeeds", metavar="NAME", help="the valid key that it replaces, by name or id"
        )
        create.add_argument(
            "--account",
            metavar="NAME",
            help="the account for which a key of the operator's API acts; it may do nothing that the account may not",
        )
        revoke = actions.add_parser(
            "revoke", help="revoke keys; requests with them are refused within two seconds"
        )
        revoke.add_argument("name", nargs="+", help="name or id of a key that is not revoked")
        for change in (create, revoke):
            change.add_argument("--reason", default="", help="the reason, kept with the key and in the audit")
            commands.add_operator(change)
        for each in (listing, create, revoke):
            commands.add_json(each)

    def handle(self, *args: Any, **options: Any) -> None:
        if options["action"] != "list":
            options["reason"] = required_reason(options["reason"], api_keys.KEPT)
        act = {"list": self._list, "create": self._create, "revoke": self._revoke}[options["action"]]
        try:
            act(options)
        except OpsConsoleError as error:
            raise CommandError(str(error)) from error

    def _list(self, options: dict[str, Any]) -> None:
        keys = list(
            (ApiKey.objects.all() if options["all"] else ApiKey.objects.valid()).order_by(
                "name", "created_at"
            )
        )
        lines = [_as_line(key) for key in keys] or ["No key."]
        self.tell([_as_json(key) for key in keys], lines, as_json=options["json"])

    def _create(self, options: dict[str, Any]) -> None:
        account = _account(options["account"])
        fields = _checked(options, account)
        by, reason = options["operator"], fields["reason"]
        try:
            with transaction.atomic():
                key, text = api_keys.create(
                    key_id=fields["key_id"],
                    name=fields["name"],
                    scopes=fields["scopes"],
                    policy=fields["policy"],
                    expires_at=fields["expires_on"],
                    succeeds=fields["succeeds"],
                    by=by,
                    reason=reason,
                    maker=account,
                )
                audit.log_command(by, [key], "Created.", why=reason)
        except OutcomeUnknown as error:
            raise could_not(
                f"{Kept.UNKNOWN.sentence} If the key {fields['key_id']} is listed, revoke it: nobody has seen its secret."
            ) from error
        # The key alone on standard output, so that it can be led to where secrets are kept.
        self.stderr.write(f"{key} was created. The key is shown this once.")
        self.tell(_as_json(key) | {"key": text}, [text], as_json=options["json"])

    def _revoke(self, options: dict[str, Any]) -> None:
        by, reason = options["operator"], options["reason"]
        with transaction.atomic():
            keys = [_named(name) for name in options["name"]]
            revoked = [key for key in keys if api_keys.revoke(key.pk, by=by, reason=reason)]
            audit.log_command(by, revoked, "Revoked.", why=reason)
        lines = [f"{exactly(len(revoked), 'key')} revoked: {', '.join(map(str, revoked)) or 'none'}."]
        self.tell({"revoked": [str(key.pk) for key in revoked]}, lines, as_json=options["json"])


def _account(name: str | None) -> User | None:
    """Return the account for which the key acts. Raise ``CommandError`` for one that may not use the console."""
    account = User.objects.filter(username=name, is_active=True, is_staff=True).first() if name else None
    if name and account is None:
        raise CommandError(f"No key was created. No account '{name}' may log in to the console.")
    return account


def _checked(options: dict[str, Any], account: User | None) -> dict[str, Any]:
    """Return the fields as the form of the page takes them. Raise ``CommandError`` with its sentences."""
    if account is None and (scopes := operator_scopes.of_operators(options["scope"])):
        raise wrong(f"With the scope '{scopes[0]}', a key acts for an account: name it with --account.")
    form = KeyForm(
        {
            "key_id": str(uuid.uuid4()),
            "name": options["name"],
            "scopes": options["scope"],
            "policy": options["policy"],
            "succeeds": str(_named(options["succeeds"]).pk) if options["succeeds"] else "",
            "expires_on": options["expires"] or "",
            "reason": options["reason"],
        },
        maker=account,
    )
    if not form.is_valid():
        problems = [
            f"{form.fields[name].label or name}: {error}" if name in form.fields else str(error)
            for name, errors in form.errors.items()
            for error in errors
        ]
        raise wrong(" ".join(problems))
    cleaned: dict[str, Any] = form.cleaned_data
    return cleaned


def _named(name: str) -> ApiKey:
    """Return the key that is not revoked and has this name or id."""
    try:
        known = Q(pk=uuid.UUID(name))
    except ValueError:
        known = Q(name=name)
    key = ApiKey.objects.filter(known, revoked_at=None).first()
    if key is None:
        raise CommandError(f"There is no key '{name}' that is not revoked. Nothing was changed.")
    return key


def _as_line(key: ApiKey) -> str:
    expires = f"until {key.expires_at:%Y-%m-%d}" if key.expires_at else "until it is revoked"
    state = f"revoked {key.revoked_at:%Y-%m-%d}" if key.revoked_at else expires
    used = f"last used {key.last_used_at:%Y-%m-%d %H:%M} UTC" if key.last_used_at else "never used"
    return f"{key.name}  …{key.hint}  {', '.join(key.scopes)}  {key.policy}  {state}  {used}"


def _as_json(key: ApiKey) -> dict[str, Any]:
    times = {name: getattr(key, name) for name in KEY_FIELDS}
    return {
        "id": str(key.pk),
        "name": key.name,
        "hint": key.hint,
        "scopes": list(key.scopes),
        "permissions": list(key.permissions),
        "policy": key.policy,
        **{name: time.isoformat() if time else None for name, time in times.items()},
        "created_by": key.created_by,
        "reason": key.reason,
    }
