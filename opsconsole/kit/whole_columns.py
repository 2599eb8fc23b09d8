"""Downloads of a column's whole content, where pages show only its beginning."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, StreamingHttpResponse
from django.urls import URLPattern, path

from opsconsole.kit import addresses, audit
from opsconsole.kit.bounded_columns import whole_in_parts
from opsconsole.kit.read_only_admin import ReadOnlyAdmin


class WholeColumns(ReadOnlyAdmin):
    """An admin whose rows offer ``whole_columns`` for download, to those who may see the rows."""

    whole_columns: Collection[str] = ()

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.whole_view)
        name = f"{self.opts.app_label}_{self.opts.model_name}_whole"
        return [path("<path:object_id>/whole/<str:column>/", view, name=name), *super().get_urls()]

    def whole_view(self, request: HttpRequest, object_id: str, column: str) -> StreamingHttpResponse:
        """Return the column of one row as a file, read and sent in parts."""
        if not (self.has_view_permission(request) and self.may_quote(request, column)):
            raise PermissionDenied
        row = self.get_object(request, addresses.key_of(object_id))
        if row is None or column not in self.whole_columns:
            raise Http404
        audit.log_download(request.user, f"the whole column {column}", [row])
        return download(self.get_queryset(request).filter(pk=row.pk), column)


def download(rows: QuerySet[Any], column: str) -> StreamingHttpResponse:
    """Return a column of the only row as a text file; browsers never show it as a page."""
    return StreamingHttpResponse(
        whole_in_parts(rows, column),
        content_type="text/plain; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{column}.txt"'},
    )
