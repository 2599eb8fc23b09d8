from alerts.admin import alert

__all__ = ["alert"]
