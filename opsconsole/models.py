"""The console's own models. They live in the kit, where every app may use them."""

from opsconsole.kit.models import ClusterProgress, HourlyFigure, Pause

__all__ = ["ClusterProgress", "HourlyFigure", "Pause"]
