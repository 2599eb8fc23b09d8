"""Who may hand out which permissions: nobody gives others, or keeps for themselves, more than they hold.

Whoever may change a user could otherwise take a stronger role, or the account of somebody who has one: by its password,
its name or its second factor. Kubernetes prevents the same with the same rule (privilege escalation prevention).
"""

from __future__ import annotations

from django.contrib.auth.models import Group, Permission, User
from django.db.models import Q, QuerySet

from opsconsole.kit.page_permissions import Person


def may_manage_user(person: Person, other: User) -> bool:
    """Tell whether this person holds everything that the other user has, also while that user is deactivated."""
    return person.is_superuser or (not other.is_superuser and _holds_all(person, _of_user(other)))


def may_manage_role(person: Person, role: Group) -> bool:
    """Tell whether this person holds every permission of the role."""
    return person.is_superuser or _holds_all(person, role.permissions.all())


def roles_to_give(person: Person) -> QuerySet[Group]:
    """Return the roles of which this person holds every permission."""
    if person.is_superuser:
        return Group.objects.all()
    not_held = Permission.objects.exclude(pk__in=_of_user(person).values("pk"))
    return Group.objects.exclude(permissions__in=not_held)


def permissions_to_give(person: Person) -> QuerySet[Permission]:
    """Return the permissions that this person holds."""
    return Permission.objects.all() if person.is_superuser else _of_user(person)


def _holds_all(person: Person, permissions: QuerySet[Permission]) -> bool:
    return not permissions.exclude(pk__in=_of_user(person).values("pk")).exists()


def _of_user(user: Person) -> QuerySet[Permission]:
    granted = Q(user=user.pk) | Q(group__user=user.pk)
    return Permission.objects.filter(pk__in=Permission.objects.filter(granted).values("pk"))
