"""What a person may only look at: one plain sentence per page in place of the buttons that it leaves out.

The buttons of a page follow the permissions of whoever opens it. Without a word, somebody at night searches for the one
that a colleague has.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from opsconsole.kit.page_permissions import Person
from opsconsole.sign_in import roles

LOOK_ONLY = "You can only look at this page."
# By the model of a page: what its buttons do, and the permissions of which each alone shows some of them.
Duty = tuple[str, tuple[str, ...]]
_LETTERS: Duty = ("replay or discard dead letters", ("jobs.replay_deadletter", "jobs.discard_deadletter"))
_BULK: Duty = (
    "begin, stop or resume bulk operations",
    ("jobs.requeue_job", "jobs.cancel_job", "jobs.release_job", *_LETTERS[1]),
)
BUTTONS: dict[str, tuple[Duty, ...]] = {
    "jobs.job": (
        (
            "requeue, cancel or release jobs",
            ("jobs.requeue_job", "jobs.cancel_job", "jobs.release_job", "jobs.edit_job", "jobs.enqueue_job"),
        ),
    ),
    "jobs.deadletter": (_LETTERS,),
    "jobs.failuregroup": (_LETTERS,),
    "jobs.bulkoperation": (_BULK,),
    "jobs.recoverycontrol": (("arm or disarm recovery, or release a hold", ("jobs.arm_recovery",)),),
    "alerts.alert": (
        (
            "acknowledge, snooze or resolve alerts",
            ("alerts.acknowledge_alert", "alerts.snooze_alert", "alerts.resolve_alert"),
        ),
    ),
    "alerts.rule": (("change rules", ("alerts.change_rule",)),),
    "alerts.channel": (
        ("test channels", ("alerts.test_channel", "alerts.configure_channel")),
        ("add, route, mute or remove channels", ("alerts.configure_channel",)),
    ),
    "opsconsole.pause": (("pause and resume", ("opsconsole.switch",)),),
    "opsconsole.verification": (("verify the installation", ("opsconsole.verify",)),),
    "django_q.schedule": (
        ("run tasks now", ("opsconsole.run_schedule",)),
        ("pause and resume tasks", ("opsconsole.pause_schedule",)),
    ),
    "ratelimits.limitercontrol": (
        ("change the mode of the limiter", ("ratelimits.switch_limiter",)),
        ("free clients", ("ratelimits.free_client",)),
    ),
    "ratelimits.policy": (("edit or add policies", ("ratelimits.change_policy", "ratelimits.add_policy")),),
    "ratelimits.apikey": (
        ("create or revoke API keys", ("ratelimits.add_apikey", "ratelimits.revoke_apikey")),
    ),
}


def sentence(person: Person, page: str) -> str:
    """Return what this person can't do on the page of a model, and who can; '' where nothing is left out."""
    duties = BUTTONS.get(page, ())
    missing = [duty for duty in duties if not any(map(person.has_perm, duty[1]))]
    if not missing:
        return ""
    sentences = list(_sentences(missing))
    return " ".join([LOOK_ONLY, *sentences] if len(missing) == len(duties) else sentences)


def who_can(person: Person, page: str) -> str:
    """Return who can press the buttons of a page of which this person has none; '' where this person has some."""
    duties = BUTTONS.get(page, ())
    if any(person.has_perm(permission) for _, permissions in duties for permission in permissions):
        return ""
    return " ".join(_sentences(list(duties)))


def _sentences(missing: list[Duty]) -> Iterator[str]:
    by_role = defaultdict(list)
    for what, permissions in missing:
        by_role[roles.least_with(permissions)].append(what)
    for role, duties in by_role.items():
        yield f"To {', to '.join(duties)}, you need the role {role} or another that allows it."
