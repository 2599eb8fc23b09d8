"""``rate_limit_control``: a single row with the global mode and the version of all policies."""

from __future__ import annotations

from django.db import models

from opsconsole.kit import single_rows
from opsconsole.kit.row_locks import locked
from ratelimits.models.policy import Mode


class LimiterControl(models.Model):
    """The global mode. A migration creates the row, and only ``ratelimits.policies.global_switch`` changes the mode."""

    id = models.SmallIntegerField(primary_key=True, default=1)
    mode = models.TextField(choices=Mode, db_default=Mode.ENFORCE)
    changed_at = models.DateTimeField(null=True)
    changed_by = models.TextField(blank=True, db_default="")
    reason = models.TextField(blank=True, db_default="")
    version = models.BigIntegerField(db_default=1, help_text="A trigger raises it with each change.")
    freed = models.BigIntegerField(
        db_default=0, help_text="Raised when a client is freed, so that no process remembers it as blocked."
    )
    salt = models.TextField(help_text="The salt of the hashed client keys in the rollups.")

    class Meta:
        db_table = "rate_limit_control"
        verbose_name = "limiter control"
        default_permissions = ("view",)
        permissions = [
            ("switch_limiter", "Can switch all rate limits to shadow or off"),
            ("free_client", "Can free a client that used up its limit"),
        ]
        constraints = [models.CheckConstraint(condition=models.Q(id=1), name="rate_limit_control_one_row")]

    def __str__(self) -> str:
        return self.get_mode_display()

    @classmethod
    def load(cls) -> LimiterControl:
        return single_rows.only(cls, cls.objects.filter(pk=1))

    @classmethod
    def locked(cls) -> LimiterControl:
        """Return the row, locked until the transaction ends."""
        return single_rows.only(cls, locked(cls.objects.filter(pk=1)))
