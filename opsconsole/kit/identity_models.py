"""The tables of single sign-on: who somebody is at the identity provider, and which sign-ins were completed."""

from __future__ import annotations

from django.contrib.auth.models import User
from django.db import models
from django.db.models.functions import Now


class SignInIdentity(models.Model):
    """A person at the identity provider, and the account that is theirs here; only ``opsconsole.sign_in.oidc`` writes it.

    The issuer and the subject say who it is; names and addresses may change hands. Without an account it waits for an
    administrator, because an account of the same name existed already.
    """

    issuer = models.TextField()
    subject = models.TextField()
    user = models.OneToOneField(User, models.CASCADE, null=True, blank=True, related_name="identity")
    name = models.TextField(blank=True, db_default="", help_text="As the provider last called the person.")
    email = models.TextField(blank=True, db_default="")
    noticed_at = models.DateTimeField(db_default=Now())
    signed_in_at = models.DateTimeField(null=True)

    class Meta:
        app_label = "opsconsole"
        db_table = "sign_in_identities"
        ordering = ["-id"]
        verbose_name_plural = "sign-in identities"
        default_permissions = ("view",)
        permissions = [("link_signinidentity", "Can link identities to accounts")]
        constraints = [
            models.UniqueConstraint(fields=["issuer", "subject"], name="sign_in_identities_one_per_person"),
        ]

    def __str__(self) -> str:
        return f"{self.name or self.subject} ({self.subject} at {self.issuer})"


class CompletedSignIn(models.Model):
    """The state of a sign-in that was completed, so that it can't be completed again. Kept as long as its cookie is valid."""

    state = models.TextField(primary_key=True, help_text="A hash of it.")
    at = models.DateTimeField(db_default=Now())

    class Meta:
        app_label = "opsconsole"
        db_table = "sign_in_completed"
        default_permissions = ()

    def __str__(self) -> str:
        return f"sign-in completed at {self.at:%Y-%m-%d %H:%M:%S}"
