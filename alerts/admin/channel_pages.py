"""The pages that add, change, mute and remove a channel."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from django.contrib import messages
from django.contrib.admin.models import ADDITION
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.safestring import SafeString

from alerts import channel_settings
from alerts.admin.channel_forms import AddForm, ChangeForm, MuteForm
from alerts.channel_settings import AddressRefused, ChannelRefused
from alerts.channels import address_keys
from alerts.models import Channel
from alerts.sending import banner, routing
from opsconsole.kit import audit
from opsconsole.kit.display import badge
from opsconsole.kit.read_only_admin import ReadOnlyAdmin
from opsconsole.kit.reasons import ReasonForm, ReasonPageForm
from opsconsole.kit.row_locks import locked


def muted(channel: Channel, now: datetime) -> SafeString:
    """Return a badge with the end of a mute, or nothing."""
    if not routing.is_muted(channel, now) or channel.muted_until is None:
        return SafeString("")
    return badge(f"Muted until {channel.muted_until:%d %b %H:%M} UTC", "warning")


def add(admin: ReadOnlyAdmin, request: HttpRequest) -> HttpResponse:
    form = AddForm(request.POST if request.method == "POST" else None)
    if form.is_valid():
        fields = form.cleaned_data
        name, reason = fields["name"], fields["reason"]

        def do() -> str:
            channel = channel_settings.add(name, fields["address"], form.route(), reason)
            audit.log(
                request.user,
                [channel],
                "Added the channel.",
                why=reason,
                result=routing.in_words(channel),
                flag=ADDITION,
            )
            return f"The channel {name} was added. Send it a test message."

        if _done(request, form, do):
            return redirect("admin:alerts_channel_change", name)
    command = "" if address_keys.is_possible() else address_keys.COMMAND
    return _page(admin, request, "Add a channel", form, button="Add the channel", command=command)


def change(admin: ReadOnlyAdmin, request: HttpRequest, name: str) -> HttpResponse:
    with transaction.atomic():
        channel = locked(Channel.objects.filter(pk=name)).first()
        if channel is None:
            raise Http404
        fixed = channel_settings.is_fixed(name) or not channel.secret
        form = ChangeForm(channel, request.POST if request.method == "POST" else None, fixed=fixed)
        if form.is_valid():
            address, reason = form.cleaned_data.get("address", ""), form.cleaned_data["reason"]

            def do() -> str:
                after = channel_settings.change(name, form.route(), reason, address=address)
                did = channel_settings.DID_CHANGE + (" Gave it a new address." if address else "")
                audit.log(request.user, [after], did, why=reason, result=routing.in_words(after))
                return f"The channel {name} was changed: {routing.in_words(after)}."

            if _done(request, form, do):
                return redirect("admin:alerts_channel_change", name)
    hint = ""
    if channel_settings.is_fixed(name):
        hint = f"{channel_settings.FIXED}, so it is not changed here."
    elif fixed:
        hint = f"The channel {name} was removed and has no address: add it again to give it one."
    return _page(admin, request, f"Change {name}", form, button="Save", hint=hint, channel=channel)


def mute(admin: ReadOnlyAdmin, request: HttpRequest, name: str) -> HttpResponse:
    """Mute the channel for a while; with ``unmute`` in the form, tell it again."""
    channel = _channel(name)
    if request.method == "POST" and "unmute" in request.POST:
        if channel_settings.unmute(name):
            audit.log(request.user, [channel], "Unmuted the channel.", why=audit.NOT_ASKED)
        return _to_page(request, name, f"The channel {name} is told again.")
    form = MuteForm(request.POST if request.method == "POST" else None)
    if form.is_valid():
        reason, how_long = form.cleaned_data["reason"], form.how_long

        def do() -> str:
            after = channel_settings.mute(name, how_long, request.user.get_username(), reason)
            audit.log(
                request.user,
                [after],
                f"Muted the channel until {after.muted_until:%Y-%m-%d %H:%M} UTC.",
                why=reason,
            )
            until = f"{after.muted_until:%d %b %H:%M} UTC"
            return (
                f"The channel {name} is muted until {until}. What is told meanwhile is not sent to it later."
            )

        if _done(request, form, do):
            return redirect("admin:alerts_channel_change", name)
    return _page(admin, request, f"Mute {name}", form, button="Mute the channel", channel=channel)


def remove(admin: ReadOnlyAdmin, request: HttpRequest, name: str) -> HttpResponse:
    channel = _channel(name)
    form = ReasonPageForm(request.POST if request.method == "POST" else None)
    if form.is_valid():
        reason = form.cleaned_data["reason"]

        def do() -> str:
            channel_settings.remove(name, reason)
            audit.log(request.user, [channel], "Removed the channel: its address is forgotten.", why=reason)
            return f"The channel {name} was removed. Its messages stay on its page."

        if _done(request, form, do):
            return redirect("admin:alerts_channel_changelist")
    fixed = channel_settings.is_fixed(name)
    return _page(
        admin,
        request,
        f"Remove {name}",
        form,
        button="Remove the channel",
        hint="Its address is forgotten. Its history stays, and so do messages that wait: they are sent if the name is added again.",
        impossible=channel_settings.REMOVE_IN_ENVIRONMENT if fixed else "",
        channel=channel,
        takes_away=True,
    )


def _channel(name: str) -> Channel:
    channel = Channel.objects.filter(pk=name).first()
    if channel is None:
        raise Http404
    return channel


def _done(request: HttpRequest, form: ReasonForm, do: Callable[[], str]) -> bool:
    """Make the change with its line of the audit, or put into the form why it is refused."""
    try:
        with transaction.atomic():
            sentence = do()
    except ChannelRefused as error:
        form.add_error("address" if isinstance(error, AddressRefused) else None, str(error))
        return False
    banner.memory.delete("banner")
    messages.success(request, sentence)
    return True


def _to_page(request: HttpRequest, name: str, sentence: str) -> HttpResponse:
    banner.memory.delete("banner")
    messages.success(request, sentence)
    return redirect("admin:alerts_channel_change", name)


def _page(
    admin: ReadOnlyAdmin, request: HttpRequest, title: str, form: ReasonForm, **shown: object
) -> HttpResponse:
    """Return the page of a form: ``shown`` has its ``button`` and, as far as there are, ``hint``, ``channel`` and ``takes_away``.

    Where it is ``impossible``, why and what to do instead stand there, and no form; so does the ``command`` that prints a
    key, where there is none.
    """
    return admin.render(request, "admin/alerts/channel_form.html", {"title": title, "form": form} | shown)
