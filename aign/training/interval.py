"""The steps since the last line of metrics: their loss terms and time, and when workers tell each other of notices."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from aign.errors import NotTrainable
from aign.tasks.parts import Terms
from aign.training.notice import Notice
from aign.training.workers import mean_over_workers

SECONDS_BETWEEN_LOOKS = 3.0


class Interval:
    """Loss terms since the last line of metrics, kept on the device: the host waits for it only where workers meet.

    They meet at every line, and for notices every few seconds whatever the distance between lines. How many steps
    that is they decide at each meeting for the next one, from the mean time of a step, so that all agree.
    """

    def __init__(self, batch_size: int, weight: float, step: int, sums: dict[str, float], steps: int) -> None:
        """After ``step`` of a run; ``sums`` of the loss terms of ``steps`` that are in no line of metrics yet.

        ``weight`` is that of this worker's terms in the mean over workers.
        """
        self._batch_size, self._weight, self._step = batch_size, weight, step
        self._sums, self._steps = dict(sums), steps
        self._terms: list[Tensor] = []
        self._names: list[str] = []
        self._steps_to_look = 1
        self._line, self._meeting = _Stopwatch(), _Stopwatch()
        self._data_seconds = 0.0

    @contextmanager
    def data_wait(self) -> Iterator[None]:
        """Around the wait for a batch."""
        started = time.perf_counter()
        yield
        self._data_seconds += time.perf_counter() - started

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Around an evaluation or a checkpoint, whose time is not that of steps."""
        self._wait_for_device()
        started = time.perf_counter()
        yield
        for stopwatch in (self._line, self._meeting):
            stopwatch.started += time.perf_counter() - started

    def add(self, terms: Terms) -> None:
        """The terms of one more step."""
        self._names = list(terms)
        self._terms.append(torch.stack(list(terms.values())))
        for stopwatch in (self._line, self._meeting):
            stopwatch.steps += 1

    @property
    def look_is_due(self) -> bool:
        return self._meeting.steps >= self._steps_to_look

    def look(self, notice: Notice) -> Notice:
        """The most urgent notice that any worker has. Collective."""
        return self._meet(notice, torch.zeros_like(self._terms[-1][:0]))

    def close(self, notice: Notice) -> tuple[dict[str, float], Notice]:
        """Means over the interval and the workers, and the most urgent notice that any worker has. Collective.

        Raises NotTrainable at the first term that is not finite.
        """
        notice = self._meet(notice, self._own_terms())
        values = {name: total / self._steps for name, total in self._sums.items()}
        seconds = self._line.seconds()
        values["samples_per_second"] = self._batch_size * self._line.steps / seconds
        values["data_wait_share"] = self._data_seconds / seconds
        self._sums, self._steps = {}, 0
        self._line, self._data_seconds = _Stopwatch(), 0.0
        return values, notice

    def unlogged(self) -> tuple[dict[str, float], int]:
        """Sums of the terms that are in no line yet, for how many steps. Collective. Raises NotTrainable."""
        if self._terms:
            own = self._own_terms()
            self._add_up(mean_over_workers(own.flatten()).cpu().view_as(own))
        return dict(self._sums), self._steps

    def _meet(self, notice: Notice, own: Tensor) -> Notice:
        """Workers meet once: for their terms, if any, their notices and the time that a step takes."""
        self._wait_for_device()
        levels = [float(notice >= level) for level in (Notice.SAVE, Notice.STOP)]
        more = own.new_tensor([*levels, self._meeting.seconds() / max(1, self._meeting.steps)])
        together = mean_over_workers(torch.cat([own.flatten(), more])).cpu()
        self._add_up(together[: -len(more)].view_as(own))
        seconds = max(together[-1].item(), 1e-6)
        self._steps_to_look, self._meeting = max(1, int(SECONDS_BETWEEN_LOOKS / seconds)), _Stopwatch()
        return Notice(int((together[-3:-1] > 0).sum()))

    def _own_terms(self) -> Tensor:
        """Of the steps that have not been added up yet: (steps, terms)."""
        return torch.stack(self._terms) * self._weight

    def _add_up(self, terms: Tensor) -> None:
        """Step after step in double precision: the sums do not depend on where workers met."""
        if not len(terms):
            return
        bad = (~torch.isfinite(terms)).nonzero()
        if len(bad):
            row, column = bad[0].tolist()
            raise NotTrainable(
                f"loss term {self._names[column]}",
                f"is {terms[row, column].item()} at step {self._step + row + 1}",
                "lower the learning rates or its weight; the last checkpoint is from before",
            )
        for values in terms.double().tolist():
            for name, value in zip(self._names, values, strict=True):
                self._sums[name] = self._sums.get(name, 0.0) + value
        self._step += len(terms)
        self._steps += len(terms)
        self._terms = []

    def _wait_for_device(self) -> None:
        """Until it has done all steps: only then has their time passed."""
        if self._terms:
            self._terms[-1].cpu()


class _Stopwatch:
    def __init__(self) -> None:
        self.started, self.steps = time.perf_counter(), 0

    def seconds(self) -> float:
        return time.perf_counter() - self.started
