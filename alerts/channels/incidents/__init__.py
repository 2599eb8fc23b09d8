"""Services that open incidents, such as PagerDuty: one incident per alert, updated by reminders and ended with the alert."""
