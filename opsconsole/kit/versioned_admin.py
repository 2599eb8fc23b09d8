"""Admin forms that lose no update: each carries its version, and the audit is computed from the rows before and after."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib.admin.models import DELETION, LogEntry
from django.db import connection, transaction
from django.db.models import Model
from django.forms import Form, ModelForm
from django.http import HttpRequest, HttpResponse, QueryDict
from django.utils.text import capfirst

from opsconsole.kit import audit, form_versions
from opsconsole.kit.audit import AuditParts
from opsconsole.kit.form_versions import FIELD, STATUS, Version, VersionedForm
from opsconsole.kit.reasons import ReasonField
from opsconsole.kit.row_locks import locked
from opsconsole.kit.titled_admin import TitledAdmin


class DeletionForm(Form):
    """What the page that deletes a row asks."""

    reason = ReasonField()


class VersionedAdmin(TitledAdmin):
    """An admin whose forms change rows. A row is locked before it is read for a change, so its relations are too."""

    # What programs change all the time, or what only other forms change.
    unversioned: ClassVar[frozenset[str]] = frozenset()

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        row = super().get_object(request, object_id, from_field)
        if row is not None and request.method == "POST" and connection.in_atomic_block:
            locked(self.model._base_manager.filter(pk=row.pk)).first()  # noqa: SLF001 - Django documents it
            row = super().get_object(request, object_id, from_field)
        return row

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:  # noqa: FBT001, FBT002 - Django's signature
        form: Any = super().get_form(request, obj, change=change, **kwargs)
        if obj is None:
            return form
        now = form_versions.of_row(obj, self._versioned(form.base_fields))
        return type(form)(form.__name__, (VersionedForm, form), {"now": now}) if now.values else form

    def _versioned(self, names: Any) -> list[str]:
        return [name for name in names if name not in self.unversioned]

    def construct_change_message(
        self,
        request: HttpRequest,
        form: Any,
        formsets: Any,
        add: bool = False,  # noqa: FBT001, FBT002 - Django's signature
    ) -> Any:
        """Return the line of the audit: what differs between the row before and after, as read in this transaction."""
        before = getattr(form, "now", None)
        if add or before is None or not isinstance(form, ModelForm):
            return super().construct_change_message(request, form, formsets, add)
        row = self.model._base_manager.get(pk=form.instance.pk)  # noqa: SLF001 - Django documents it
        labels = {name: capfirst(str(form.fields[name].label or name)) for name in before.values}
        did = form_versions.difference(before, form_versions.of_row(row, before.values), labels)
        return AuditParts(f"{did}.", form.cleaned_data.get("reason", ""))

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        # One rule, user or key at a time: each is saved for a reason of its own.
        context["show_save_and_add_another"] = False
        response = super().render_change_form(request, context, *args, **kwargs)
        if getattr(context["adminform"].form, "conflict", None):
            response.status_code = STATUS
        return response

    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> Any:
        """Delete the row as it was shown and for a reason, or show it again with what has changed since."""
        with transaction.atomic():
            row = self.get_object(request, object_id)
            if row is None:
                return super().delete_view(request, object_id, extra_context)
            now = self._whole(row)
            conflict = (
                form_versions.conflict(now, request.POST.get(FIELD, "")) if request.method == "POST" else None
            )
            form = DeletionForm(request.POST if request.method == "POST" else None, label_suffix="")
            if conflict or not form.is_valid():
                request.POST = QueryDict()  # Django asks again where nothing was sent.
            context = {"conflict": conflict, "version": now.token(), "form": form}
            response = super().delete_view(request, object_id, context | (extra_context or {}))
            if conflict:
                response.status_code = STATUS
            return response

    def log_deletions(self, request: HttpRequest, queryset: Any) -> list[LogEntry]:
        """Write why each row is deleted, and what it was."""
        form = DeletionForm(request.POST)
        why = form.cleaned_data["reason"] if form.is_valid() else audit.NOT_ASKED
        return [
            entry
            for row in queryset
            for entry in audit.log(request.user, [row], self.last_words(row), why=why, flag=DELETION)
        ]

    def last_words(self, row: Any) -> str:
        """Return what the audit says of a row that is deleted."""
        return "Deleted."

    def _whole(self, row: Model) -> Version:
        fields = (*row._meta.concrete_fields, *row._meta.many_to_many)  # noqa: SLF001 - Django documents it
        return form_versions.of_row(row, self._versioned(field.name for field in fields))
