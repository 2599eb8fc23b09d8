"""The newest seal as one word, for copies that are kept elsewhere."""

from __future__ import annotations

from opsconsole.kit.audit_models import AuditSeal


def anchor() -> str:
    """Return the number and hash of the newest seal, such as '812:ab12...', or '' before the first."""
    newest = AuditSeal.objects.order_by("-number").values_list("number", "hash").first()
    return f"{newest[0]}:{newest[1]}" if newest else ""
