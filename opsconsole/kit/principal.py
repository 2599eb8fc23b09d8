"""The principal of the operator's API: a key that acts for the account that made it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from django.contrib.auth.models import User

from opsconsole.kit.problems import Problem
from opsconsole.kit.storable import plain_text

PAYLOADS_READ = "payloads:read"


@dataclass(frozen=True)
class Principal:
    """An API key that acts for the account that made it.

    It may do what the account was allowed when the key was made (``permissions``), as far as the account still is. What
    decides for pages asks it as it asks a user. ``key`` names it with its last characters; ``note_refusal`` counts a
    refusal for the audit.
    """

    key: str
    maker: User
    scopes: frozenset[str]
    permissions: frozenset[str]
    note_refusal: Callable[[str], None]

    @property
    def name(self) -> str:
        """Return the name in the audit, and with what was changed."""
        return f"the API key {self.label}"

    @property
    def label(self) -> str:
        """Return the key and its maker, such as 'deploys (…x1Yz), made by olga'."""
        return plain_text(f"{self.key}, made by {self.maker.get_username()}")

    def has_perm(self, permission: str, _row: object = None) -> bool:
        return permission in self.permissions and self.maker.has_perm(permission)

    def has_perms(self, permissions: Iterable[str], _row: object = None) -> bool:
        return all(map(self.has_perm, permissions))

    @property
    def sees_payloads(self) -> bool:
        """Tell whether answers contain the payloads of jobs and the bodies of letters that the key may see."""
        return PAYLOADS_READ in self.scopes

    def require_scope(self, scope: str) -> None:
        """Raise ``Problem`` unless the key has this scope besides the one that opened the route."""
        if scope not in self.scopes:
            self.note_refusal(scope)
            raise Problem(
                403, f"This API key does not have the scope '{scope}'.", reason="scope", scope=scope
            )

    def require(self, *permissions: str) -> None:
        """Raise ``Problem`` unless the key has all of these permissions."""
        for permission in permissions:
            if not self.has_perm(permission):
                self.note_refusal(permission)
                raise Problem(
                    403,
                    f"This needs the permission '{permission}'. The key does not have it, or the account that made the key "
                    f"('{self.maker.get_username()}') lost it. Nothing was changed.",
                    reason="permission",
                    permission=permission,
                )
