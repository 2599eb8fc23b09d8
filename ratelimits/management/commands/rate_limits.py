"""Policies from the shell: for a change that a script makes, and for when a policy keeps everybody out of the admin."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

from django.conf import settings
from django.core.management.base import CommandError, CommandParser
from django.db import transaction

from opsconsole.kit import audit, commands
from opsconsole.kit.command_arguments import could_not, required_reason, wrong
from opsconsole.kit.errors import OpsConsoleError
from opsconsole.kit.exit_codes import WRONG_ARGUMENTS
from ratelimits.engine.forgotten_counts import ALONE, StoreAway
from ratelimits.models import LimiterControl, Mode, Policy
from ratelimits.policies import changes, global_switch, wording
from ratelimits.requests import freed_clients, lockout_check

LIST_FIELDS = ("name", *changes.FIELDS)


class Command(commands.ConsoleCommand):
    help = (
        "List, disable, enable and edit rate limit policies, switch all of them, and free a client. Needs the database, and only "
        "'free' needs the store."
    )
    examples = (
        "rate_limits list --json",
        'rate_limits edit standard --set limit=200 --reason "a new partner"',
        'rate_limits mode off --reason "incident 42"',
        'rate_limits free 203.0.113.7 --policy strict --reason "their import is done"',
    )
    exit_codes: ClassVar = {1: "refused; a sentence says why"}

    def add_arguments(self, parser: CommandParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        self._action(actions, "list", "list all policies")
        for name, text in (("disable", "set the mode of a policy to off"), ("enable", "enforce a policy")):
            one = self._action(actions, name, text)
            one.add_argument("name", help="the policy's name")
            if name == "enable":
                one.add_argument("--mode", choices=("enforce", "shadow"), default="enforce")
            self._change(one)
        edit = self._action(actions, "edit", "change fields of a policy")
        edit.add_argument("name", help="the policy's name")
        edit.add_argument(
            "--set",
            action="append",
            default=[],
            metavar="FIELD=VALUE",
            help=f"lists are separated by commas; fields: {', '.join(changes.FIELDS)}",
        )
        self._change(edit)
        mode = self._action(actions, "mode", "set the mode of all policies")
        mode.add_argument("mode", choices=Mode.values)
        self._change(mode)
        free = self._action(actions, "free", "forget what a client used")
        free.add_argument(
            "client", help="an address, or a key of the records such as user:7 or check:customer-1"
        )
        free.add_argument("--policy", help="only under this policy (default: under all)")
        self._change(free, confirm=False)

    def _action(self, actions: Any, name: str, text: str) -> CommandParser:
        parser: CommandParser = actions.add_parser(name, help=text, description=text)
        commands.add_json(parser)
        return parser

    def _change(self, parser: CommandParser, *, confirm: bool = True) -> None:
        parser.add_argument("--reason", default="", help="the reason, stored in the audit")
        commands.add_operator(parser)
        if confirm:
            parser.add_argument(
                "--confirm",
                default="",
                metavar="NAME",
                help="the policy's name, if it is meant to lock people out; several are separated by commas",
            )

    def handle(self, *args: Any, **options: Any) -> None:
        actions: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
            "list": self._list,
            "disable": partial(self._edit, lambda _options: {"mode": "off"}),
            "enable": partial(self._edit, lambda options: {"mode": options["mode"]}),
            "edit": partial(self._edit, _fields),
            "mode": self._switch,
            "free": self._free,
        }
        if options["action"] != "list":
            options["reason"] = required_reason(options["reason"])
        try:
            result = actions[options["action"]](options)
        except changes.ValueRefused as error:
            raise CommandError(str(error), returncode=WRONG_ARGUMENTS) from error
        except StoreAway as error:
            raise could_not(str(error)) from error
        except OpsConsoleError as error:
            raise CommandError(str(error)) from error
        lines = result.pop("lines")
        self.tell(result, lines, as_json=options["json"])

    def _list(self, _options: dict[str, Any]) -> dict[str, Any]:
        mode, policies = LimiterControl.load().mode, list(Policy.objects.all())
        lines = [f"All policies: {mode}."]
        lines += [
            f"{policy.name}: {policy.mode}, {wording.rate(policy)}, {wording.scope(policy)}"
            + (f", denies {', '.join(policy.deny_networks)}" if policy.deny_networks else "")
            + (f", never limits {', '.join(policy.allow_networks)}" if policy.allow_networks else "")
            for policy in policies
        ]
        rows = [{field: getattr(policy, field) for field in LIST_FIELDS} for policy in policies]
        return {"mode": mode, "policies": rows, "lines": lines}

    def _edit(
        self, read: Callable[[dict[str, Any]], dict[str, str]], options: dict[str, Any]
    ) -> dict[str, Any]:
        did = changes.change(
            options["name"],
            read(options),
            by=options["operator"],
            reason=options["reason"],
            check=lambda before, after: lockout_check.refuse_unconfirmed(
                [before], [after], None, options["confirm"]
            ),
        )
        sentence = (
            f"{options['name']}: {did}. It takes effect in all processes within two seconds." if did else ""
        )
        return {"policy": options["name"], "changed": did, "lines": [sentence or "Nothing was changed."]}

    def _switch(self, options: dict[str, Any]) -> dict[str, Any]:
        mode, by, reason = options["mode"], options["operator"], options["reason"]
        with transaction.atomic():
            before = LimiterControl.load().mode
            lockout_check.refuse_unconfirmed_mode(mode, None, options["confirm"])
            changed = global_switch.switch(mode, by=by, reason=reason)
            if changed:
                changes.log_mode(by, before, mode, reason)
        return {
            "mode": mode,
            "changed": changed,
            "lines": [f"All policies: {mode}." if changed else "Nothing was changed."],
        }

    def _free(self, options: dict[str, Any]) -> dict[str, Any]:
        if settings.OPSCONSOLE_RATE_LIMIT_STORE is None:
            raise CommandError(ALONE)
        by = options["operator"]
        client = freed_clients.key_of(options["client"])
        freed = freed_clients.free(
            client,
            policy=options["policy"] or "",
            account=audit.account_of(by),
            by=by,
            reason=options["reason"],
            actor=audit.command_actor(by),
        )
        counts = {each.policy: each.requests for each in freed}
        return {"client": client, "freed": counts, "lines": [f"{client}: {freed_clients.in_words(freed)}"]}


def _fields(options: dict[str, Any]) -> dict[str, str]:
    pairs = [text.partition("=") for text in options["set"]]
    if not pairs or any(not separator for _, separator, _ in pairs):
        raise wrong("Say what to change: --set limit=100 --set deny_networks=203.0.113.0/24.")
    fields = [field.strip() for field, _, _ in pairs]
    if twice := [field for field in fields if fields.count(field) > 1]:
        raise wrong(f"{twice[0]} is set twice.")
    return {field.strip(): value for field, _, value in pairs}
