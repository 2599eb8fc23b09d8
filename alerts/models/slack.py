"""People in Slack, and the clicks that were answered."""

from __future__ import annotations

from django.contrib.auth.models import User
from django.db import models
from django.db.models.functions import Now


class SlackPerson(models.Model):
    """Somebody who pressed a button in Slack, and the account in whose name that counts. Only ``alerts.slack_app`` adds rows.

    The workspace and the member id say who it is; names may change hands. Without an account it waits for an administrator.
    """

    team = models.TextField(help_text="The workspace.")
    member = models.TextField(help_text="The member id.")
    user = models.OneToOneField(User, models.CASCADE, null=True, blank=True, related_name="slack_person")
    name = models.TextField(blank=True, db_default="", help_text="As Slack last called the person.")
    noticed_at = models.DateTimeField(db_default=Now())
    clicked_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "alert_slack_people"
        ordering = ["-id"]
        verbose_name = "person in Slack"
        verbose_name_plural = "people in Slack"
        default_permissions = ("view",)
        permissions = [("link_slackperson", "Can link people in Slack to accounts")]
        constraints = [
            models.UniqueConstraint(fields=["team", "member"], name="alert_slack_people_one_a_member")
        ]

    def __str__(self) -> str:
        return f"{self.name or self.member} ({self.member} in {self.team})"


class SlackClick(models.Model):
    """A signature that had its effect, so that it has none again. Kept as long as Slack's time stamp would be accepted."""

    signature = models.TextField(primary_key=True)
    at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "alert_slack_clicks"
        default_permissions = ()
        indexes = [models.Index(fields=["at"], name="alert_slack_clicks_at_idx")]

    def __str__(self) -> str:
        return f"click at {self.at:%Y-%m-%d %H:%M:%S}"
