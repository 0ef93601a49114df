"""Event files: what TensorBoard reads of them is what RUN/metrics and RUN/pictures hold."""

import struct
import threading
from functools import reduce

import pytest
from matplotlib.figure import Figure
from tensorboardX.proto.event_pb2 import Event, SessionLog

from aign.training.run_config import RunConfig
from ray_jobs import train
from ray_jobs.runs.job import Job, Placement, Workers
from ray_jobs.storage.spool import Spool
from ray_jobs.worker import recorder
from ray_jobs.worker.events import Progressed
from ray_jobs.worker.recorder import RunWriter
from ray_jobs.worker.tensorboard import EventFiles

WAIT_S = 300
CHECKSUMS = [reduce(lambda c, _: (c >> 1) ^ (0x82F63B78 * (c & 1)), range(8), n) for n in range(256)]


def masked_checksum(data):
    """CRC-32C as TFRecord files have it."""
    checksum = ~reduce(lambda c, byte: CHECKSUMS[(c ^ byte) & 255] ^ (c >> 8), data, 0xFFFFFFFF) & 0xFFFFFFFF
    return ((checksum >> 15 | checksum << 17) + 0xA282EAD8) & 0xFFFFFFFF


def read_events(data):
    """The events of one file, with all checksums checked."""
    while data:
        length, checksum = struct.unpack("<QI", data[:12])
        record, rest = data[12 : 12 + length], data[12 + length :]
        assert checksum == masked_checksum(data[:8])
        assert struct.unpack("<I", rest[:4])[0] == masked_checksum(record)
        yield Event.FromString(record)
        data = rest[4:]


def shown(files):
    """Scalars and pictures by tag and step as TensorBoard shows them: after a restart, steps from there on are new."""
    found = {}
    for _, data in sorted(files.items()):
        first, *events = read_events(data)
        assert first.file_version == "brain.Event:2"
        for event in events:
            if event.session_log.status == SessionLog.START:
                found = {(tag, step): value for (tag, step), value in found.items() if step < event.step}
            for value in event.summary.value:
                picture = value.image.encoded_image_string
                found[value.tag, event.step] = picture or value.simple_value
    return found


def progressed(step, loss):
    return Progressed(step=step, clock=step, stage="first", generator_updates=step, values={"loss": loss})


def test_they_hold_what_metrics_and_pictures_do(tiny_argv, tmp_path, metrics):
    argv = ["pose", *tiny_argv, "--workers", "0", "--storage", str(tmp_path), "--name", "run"]
    train.command(argv)
    run = tmp_path / "run"
    expected = {}
    for line in metrics(run):
        evaluated = line.get("evaluation", {"metrics": {}, "split": ""})
        logged = {k: v for k, v in line.items() if k not in ("time", "step", "stage", "evaluation")}
        values = logged | {f"{evaluated['split']}/{name}": value for name, value in evaluated["metrics"].items()}
        expected |= {(name, line["step"]): pytest.approx(value, rel=1e-6) for name, value in values.items()}
    pictures = {step: (run / f"pictures/step_{step:07d}.png").read_bytes() for step in (6, 12)}
    expected |= {("validation/picture", step): png for step, png in pictures.items()}
    assert shown({path.name: path.read_bytes() for path in (run / "tensorboard").iterdir()}) == expected


def test_steps_that_an_attempt_does_again_take_the_place_of_the_old_ones():
    files = {}
    for attempt, start_step, losses in ((1, 0, {4: 1.0, 8: 2.0}), (2, 4, {6: 3.0, 12: 4.0})):
        events = EventFiles(files.__setitem__, attempt, start_step)
        for step, loss in losses.items():
            events.add(progressed(step, loss), 0.0)
            events.send()
        events.send()  # nothing waits: no file
    assert len(files) == 4
    losses = {step: value for (tag, step), value in shown(files).items() if tag == "loss"}
    assert losses == {4: 1.0, 6: 3.0, 12: 4.0}


def test_no_step_waits_for_them(tmp_path, monkeypatch):
    monkeypatch.setattr(recorder, "SECONDS_BETWEEN_EVENT_FILES", 0.0)
    placement = Placement(storage=str(tmp_path), workers=Workers(0, 0))
    spool = Spool(Job(run=RunConfig.of("pose"), placement=placement, name="run").folder, tmp_path / "spool", print)
    files, go = {}, threading.Event()
    monkeypatch.setattr(spool, "put", lambda path, data: files.__setitem__(path, data))
    writer = RunWriter(Job(run=RunConfig.of("pose"), placement=placement, name="run"), 1, spool, lambda event: None)

    def slow():
        go.wait(WAIT_S)
        return Figure()

    writer.picture(1, slow)
    steps = threading.Thread(target=lambda: [writer.emit(progressed(step, 0.5)) for step in range(1, 50)])
    steps.start()
    steps.join(WAIT_S / 2)
    assert not steps.is_alive()
    go.set()
    writer.close()
    spool.close(WAIT_S)
    found = shown({path: data for path, data in files.items() if path.startswith("tensorboard/")})
    assert {step for tag, step in found if tag == "loss"} == set(range(1, 50))
