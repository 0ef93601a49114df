"""A run's metrics and pictures as TensorBoard event files: ``tensorboard --logdir RUN/tensorboard``.

Object stores cannot append, so an attempt writes numbered files, each a whole event file; TensorBoard reads all of a
folder in the order of their names. Scalars have the names of RUN/metrics, those of evaluations are ``validation/NAME``
and ``test/NAME``.

tensorboardX defines and checksums the records, its ``SummaryWriter`` does not write the files: that one keeps a single
growing file, which its S3 writer uploads whole at every flush, with a client of its own that no spool stands behind (an
error ends its thread, and the file with it), and names files by second and host, in which two attempts can collide.
"""

import struct
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ray_jobs.worker.events import Evaluated, Progressed

if TYPE_CHECKING:
    from tensorboardX.proto.event_pb2 import Event

FOLDER = "tensorboard"
VERSION = "brain.Event:2"


@dataclass(frozen=True)
class Entry:
    """What TensorBoard shows of one moment: values by name, and perhaps a PNG picture."""

    time: float
    step: int
    scalars: Mapping[str, float]
    picture: bytes | None = None


class EventFiles:
    """One attempt's event files. What is added waits until ``send``; any thread may add, one at a time may send."""

    def __init__(self, put: Callable[[str, bytes], None], attempt: int, start_step: int) -> None:
        self._put, self._attempt, self._start_step = put, attempt, start_step
        self._waiting: deque[Entry] = deque()
        self._parts = 0

    def add(self, event: Progressed | Evaluated, time: float) -> None:
        self._waiting.append(Entry(time, event.step, _scalars(event)))

    def add_picture(self, step: int, png: bytes, time: float) -> None:
        self._waiting.append(Entry(time, step, {}, png))

    def send(self) -> None:
        """Put all that waits as one more file. Slow: not in a step."""
        waiting = [self._waiting.popleft() for _ in range(len(self._waiting))]
        if not waiting:
            return
        events = [_event(waiting[0].time, file_version=VERSION)]
        if not self._parts:
            events.append(self._restart(waiting[0].time))
        events += [_of_entry(entry) for entry in waiting]
        name = f"events.out.tfevents.{self._attempt:03d}-{self._parts:06d}"
        self._put(f"{FOLDER}/{name}", b"".join(_record(event.SerializeToString()) for event in events))
        self._parts += 1

    def _restart(self, time: float) -> "Event":
        """Makes TensorBoard forget the steps that this attempt does again."""
        from tensorboardX.proto.event_pb2 import SessionLog

        return _event(time, step=self._start_step + 1, session_log=SessionLog(status=SessionLog.START))


def _scalars(event: Progressed | Evaluated) -> dict[str, float]:
    match event:
        case Progressed():
            return {"generator_updates": event.generator_updates, **event.values}
        case Evaluated():
            split = event.evaluation.split
            return {f"{split}/{name}": value for name, value in event.evaluation.metrics.items()}


def _of_entry(entry: Entry) -> "Event":
    from tensorboardX.proto.summary_pb2 import Summary

    values = [Summary.Value(tag=name, simple_value=value) for name, value in entry.scalars.items()]
    if entry.picture:
        width, height = struct.unpack(">II", entry.picture[16:24])  # where every PNG has them
        image = Summary.Image(width=width, height=height, encoded_image_string=entry.picture)
        values.append(Summary.Value(tag="validation/picture", image=image))
    return _event(entry.time, step=entry.step, summary=Summary(value=values))


def _event(time: float, **what: Any) -> "Event":
    from tensorboardX.proto.event_pb2 import Event  # here: half a second that a run's first step need not wait for

    return Event(wall_time=time, **what)


def _record(data: bytes) -> bytes:
    """As TensorFlow frames it: the length and the data, each with its checksum."""
    from tensorboardX.record_writer import masked_crc32c

    length = struct.pack("<Q", len(data))
    return length + struct.pack("<I", masked_crc32c(length)) + data + struct.pack("<I", masked_crc32c(data))
