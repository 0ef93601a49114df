"""What a run tells while it lasts."""

from typing import Any

Event = dict[str, Any]
"""``kind`` is progress, evaluation, picture, say or ended; the rest is what is to be shown."""
