"""The users of the tests: an operator with all permissions, and a viewer."""

from __future__ import annotations

from django.contrib.auth.models import Permission, User

PASSWORD = "correct-horse-battery"


def operator(name: str = "olga") -> User:
    return User.objects.create_superuser(name, password=PASSWORD)


def viewer(name: str = "vera") -> User:
    """Return a user who may see every page, and nothing else."""
    user = User.objects.create_user(name, password=PASSWORD, is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__startswith="view_"))
    return user


def allowed(*codenames: str, name: str = "paul") -> User:
    """Return a viewer with these additional permissions."""
    user = viewer(name)
    granted = Permission.objects.filter(codename__in=codenames)
    assert len(granted) == len(codenames), f"unknown permission among {codenames}"
    user.user_permissions.add(*granted)
    return user
