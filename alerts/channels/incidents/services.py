"""The requests of each service for incidents. Apprise reads the channel's URL; the request is our own.

Apprise's own requests cannot carry a key per alert, and for some services not even resolve an incident. Parameters of
the URL that would set such a key or the kind of event are therefore ignored.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

from alerts.channels.http_posts import HttpPost
from alerts.channels.incidents.event import IncidentEvent

SOURCE = "Ops console"
# Used where Apprise's own value says nothing about this console.
_DEFAULTS = {"Apprise", "Notification"}

ENDPOINTS = {
    ("pagerduty", "us"): "https://events.pagerduty.com/v2/enqueue",
    ("pagerduty", "eu"): "https://events.eu.pagerduty.com/v2/enqueue",
    ("opsgenie", "us"): "https://api.opsgenie.com/v2/alerts",
    ("opsgenie", "eu"): "https://api.eu.opsgenie.com/v2/alerts",
    ("jira", "us"): "https://api.atlassian.com/jsm/ops/integration/v2/alerts",
    ("jira", "eu"): "https://api.atlassian.com/jsm/ops/integration/v2/alerts",
    ("squadcast", "us"): "https://api.squadcast.com/v2/incidents/api",
    ("squadcast", "eu"): "https://api.eu.squadcast.com/v2/incidents/api",
    ("splunk", ""): "https://alert.victorops.com/integrations/generic/20131114/alert",
    ("ilert", ""): "https://api.ilert.com/api/events",
    ("incidentio", ""): "https://api.incident.io/v2/alert_events/http",
    ("pagertree", ""): "https://api.pagertree.com/integration",
    ("signl4", ""): "https://connect.signl4.com/webhook",
    ("firehydrant", ""): "https://signals.firehydrant.com/v1/process",
}

Requests = Callable[[Any, IncidentEvent], list[HttpPost]]


def _pagerduty(channel: Any, event: IncidentEvent) -> list[HttpPost]:
    """https://developer.pagerduty.com/docs/send-alert-event"""
    payload: dict[str, Any] = {
        "routing_key": channel.integration_key,
        "dedup_key": event.key,
        "event_action": "resolve" if event.resolved else "trigger",
    }
    if not event.resolved:
        payload["payload"] = _given(
            summary=event.short(1_024),
            source=_or_default(channel.source) or SOURCE,
            severity=channel.severity or event.severity,
            component=_or_default(channel.component),
            group=channel.group,
            **{"class": channel.class_id},
            custom_details={**dict(channel.details), **dict(event.facts), "description": event.text},
        )
        payload["client"] = SOURCE
        if event.links:
            payload["client_url"] = event.link
            payload["links"] = [{"href": url, "text": label} for label, url in event.links]
    return [HttpPost(ENDPOINTS["pagerduty", channel.region_name], payload)]


def _opsgenie(channel: Any, event: IncidentEvent) -> list[HttpPost]:
    """https://docs.opsgenie.com/docs/alert-api; Jira Service Management has the same API."""
    service = "jira" if channel.secure_protocol == "jira" else "opsgenie"
    url = ENDPOINTS[service, channel.region_name]
    headers = {"Authorization": f"GenieKey {channel.apikey}"}
    if event.resolved:
        close = f"{url}/{quote(event.key, safe='')}/close?identifierType=alias"
        return [HttpPost(close, _given(source=SOURCE, note=event.text, user=channel.user), headers)]
    details = {**dict(channel.details), **dict(event.facts), **dict(event.links)}
    payload = _given(
        alias=event.key,
        message=event.short(130),
        description=event.text,
        # While the alert is open, only the note of a repeated request is kept.
        note=event.text,
        priority=_opsgenie_priority(channel, event),
        source=SOURCE,
        entity=channel.entity,
        user=channel.user,
        responders=channel.targets,
        tags=list(getattr(channel, f"_{type(channel).__name__}__tags")),
        details={label: text for label, text in details.items() if text},
    )
    return [HttpPost(url, payload, headers)]


def _opsgenie_priority(channel: Any, event: IncidentEvent) -> str:
    # Apprise's default, so the URL gives no other.
    normal = channel.template_args["priority"]["default"]
    if channel.priority != normal:
        return f"P{channel.priority}"
    return {"critical": "P1", "warning": "P3"}.get(event.severity, "P5")


def _splunk(channel: Any, event: IncidentEvent) -> list[HttpPost]:
    """https://help.victorops.com/knowledge-base/rest-endpoint-integration-guide/"""
    payload = {
        "entity_id": event.key,
        "message_type": "RECOVERY" if event.resolved else event.severity.upper(),
        "entity_display_name": event.summary,
        "state_message": _full_text(event),
        "monitoring_tool": SOURCE,
    }
    return [HttpPost(f"{ENDPOINTS['splunk', '']}/{channel.apikey}/{channel.routing_key}", payload)]


def _squadcast(channel: Any, event: IncidentEvent) -> list[HttpPost]:
    """https://support.squadcast.com/integrations/incident-webhook-incident-webhook-api"""
    payload = _given(
        event_id=event.key,
        status="resolve" if event.resolved else "trigger",
        message=event.summary,
        description=_full_text(event),
        priority=channel.priority,
        tags=channel.tags_map,
    )
    return [HttpPost(f"{ENDPOINTS['squadcast', channel.region_name]}/{channel.key}", payload)]


def _ilert(channel: Any, event: IncidentEvent) -> list[HttpPost]:
    """https://docs.ilert.com/developer-docs/rest-api/api-reference/events"""
    payload = _given(
        integrationKey=channel.key,
        alertKey=event.key,
        eventType="RESOLVE" if event.resolved else "ALERT",
        summary=event.summary,
        details=_full_text(event),
        priority=channel.priority and channel.priority.upper(),
        routingKey=channel.routing_key,
        links=[{"href": url, "text": label} for label, url in event.links],
        labels=channel.labels,
    )
    return [HttpPost(ENDPOINTS["ilert", ""], payload)]


def _incidentio(channel: Any, event: IncidentEvent) -> list[HttpPost]:
    """https://docs.incident.io/api-reference/alert-events-v2/createhttp"""
    payload = _given(
        deduplication_key=event.key,
        status="resolved" if event.resolved else "firing",
        title=event.summary,
        description=_full_text(event),
        source_url=event.link,
        metadata={**dict(channel.metadata), "severity": event.severity},
    )
    url = f"{ENDPOINTS['incidentio', '']}/{channel.source}"
    return [HttpPost(url, payload, {"Authorization": f"Bearer {channel.token}"})]


def _pagertree(channel: Any, event: IncidentEvent) -> list[HttpPost]:
    """https://pagertree.com/docs/integration-guides/webhook"""
    payload: dict[str, Any] = {"id": event.key, "event_type": "resolve" if event.resolved else "create"}
    if not event.resolved:
        payload |= _given(
            title=event.summary,
            description=_full_text(event),
            urgency=channel.urgency,
            meta=channel.meta_extras,
        )
    url = f"{ENDPOINTS['pagertree', '']}/{channel.integration}"
    return [HttpPost(url, {**channel.payload_extras, **payload}, dict(channel.headers))]


def _signl4(channel: Any, event: IncidentEvent) -> list[HttpPost]:
    """https://docs.signl4.com/integrations/webhook/webhook.html"""
    payload = _given(
        title=event.summary,
        body=_full_text(event),
        **{
            "X-S4-SourceSystem": SOURCE,
            "X-S4-ExternalID": event.key,
            "X-S4-Status": "resolved" if event.resolved else "",
            "X-S4-Service": channel.service,
            "X-S4-AlertingScenario": channel.alerting_scenario,
            "X-S4-Location": channel.location,
        },
    )
    return [HttpPost(f"{ENDPOINTS['signl4', '']}/{channel.secret}/", payload)]


def _firehydrant(channel: Any, event: IncidentEvent) -> list[HttpPost]:
    """https://docs.firehydrant.com/docs/events-data-model"""
    level = {"critical": "ERROR", "warning": "WARN"}.get(event.severity, "INFO")
    payload = _given(
        idempotency_key=event.key,
        status="CLOSED" if event.resolved else "OPEN",
        summary=event.summary,
        body=_full_text(event),
        level=channel.level.upper() if channel.level else level,
        annotations=dict(channel.annotations),
        links=[{"href": url, "text": label} for label, url in event.links],
    )
    return [HttpPost(f"{ENDPOINTS['firehydrant', '']}/{channel.token}", payload)]


def _goalert(channel: Any, event: IncidentEvent) -> list[HttpPost]:
    """https://github.com/target/goalert/blob/master/web/src/app/documentation/sections/GenericAPI.md"""
    payload = _given(
        dedup=event.key,
        action="close" if event.resolved else "",
        summary=event.short(1_024),
        details=_full_text(event),
        meta=channel.meta,
    )
    url = _own_host(channel, "api/v2/generic/incoming")
    return [HttpPost(url, payload, {"Authorization": f"Bearer {key}"}) for key in channel.targets]


def _opsimate(channel: Any, event: IncidentEvent) -> list[HttpPost]:
    """https://docs.opsimate.dev/docs/integrations/custom-alerts"""
    payload = _given(
        id=event.key,
        alertName=event.summary,
        summary=_full_text(event),
        status="resolved" if event.resolved else "firing",
        severity="" if event.resolved else channel.severity or event.severity,
        tags={"source": SOURCE, **dict(channel.xtags)},
        links=[{"label": label, "url": url} for label, url in event.links],
    )
    return [HttpPost(_own_host(channel, channel.notify_path), payload, {"x-api-token": channel.apikey})]


# By the scheme of the channel's URL.
SERVICES: Mapping[str, Requests] = {
    "pagerduty": _pagerduty,
    "opsgenie": _opsgenie,
    "jira": _opsgenie,
    "splunk": _splunk,
    "victorops": _splunk,
    "squadcast": _squadcast,
    "ilert": _ilert,
    "incidentio": _incidentio,
    "pagertree": _pagertree,
    "signl4": _signl4,
    "firehydrant": _firehydrant,
    "goalert": _goalert,
    "goalerts": _goalert,
    "opsimate": _opsimate,
    "opsimates": _opsimate,
}


def _given(**fields: Any) -> dict[str, Any]:
    """Return the fields that have a value."""
    return {name: value for name, value in fields.items() if value}


def _or_default(text: str | None) -> str:
    return "" if not text or text in _DEFAULTS else text


def _full_text(event: IncidentEvent) -> str:
    """Return the text with facts and links, for services without fields for them."""
    pairs = [*event.facts, *event.links]
    return "\n".join([event.text, *(f"{label}: {text}" for label, text in pairs)])


def _own_host(channel: Any, path: str) -> str:
    """Return the address of a service that people run themselves."""
    scheme = "https" if channel.secure else "http"
    port = f":{channel.port}" if channel.port else ""
    folder = channel.fullpath.strip("/") if channel.fullpath else ""
    return f"{scheme}://{channel.host}{port}/{folder + '/' if folder else ''}{path}"
