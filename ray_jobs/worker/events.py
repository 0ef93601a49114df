"""What a run tells while it lasts."""

from typing import Any

Event = dict[str, Any]
"""``kind`` is starting, progress, evaluation, picture, saved, say or ended; the rest is what is to be shown. After
``saved`` nothing up to its ``step`` can be lost; from ``starting`` to the next one no worker trains."""

MACHINE_METRICS = ("samples_per_second", "data_wait_share")
"""Of a progress event's values those that are no loss terms."""
