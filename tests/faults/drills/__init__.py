"""The drills: each starts a run, injects one fault at a precise moment, and sees the run to its end.

A drill is a function of a :class:`~tests.faults.run.Run`. What holds for all of them (no step lost beyond the newest
checkpoint, no gap in metrics, the undisturbed run's weights) is judged afterwards, in ``judge.py``.
"""

from tests.faults.drills import commands, machines, stores  # noqa: F401 (they fill the table)
from tests.faults.drills.drill import DRILLS, MOMENT, Drill, Skipped

__all__ = ["DRILLS", "MOMENT", "Drill", "Skipped"]
