"""Between the process that started a run and the run's workers: events one way, notices the other.

Nobody waits for it in a step: events are sent without an answer, and a notice is a call that is answered when there
is one.
"""

import asyncio
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from aign.training.notice import Notice
from ray_jobs.storage.attempts import AlreadyRuns
from ray_jobs.worker.events import Event, WorkersStarting

SECONDS_TO_ABORT = 2.0


class Mailbox:
    """The actor. It lives on the machine of the process that started the run: others may go away."""

    def __init__(self) -> None:
        self._events: list[Event] = []
        self._notice = Notice.NONE
        self._changed = asyncio.Event()
        self._controller: Any = None

    async def put(self, event: Event) -> None:
        """From the first worker."""
        self._events.append(event)

    async def take(self) -> list[Event]:
        """Events since the last call, for the console."""
        taken, self._events = self._events, []
        return taken

    async def notify(self, notice: Notice) -> None:
        """For the workers, which heed the most urgent notice."""
        self._notice = max(self._notice, notice)
        self._changed.set()

    async def controlled_by(self, controller: Any) -> None:
        """Ray Train's actor for this run, which starts its workers."""
        self._controller = controller

    async def break_off(self) -> bool:
        """End the run with what there is of workers; False while it cannot, because nobody starts any yet."""
        if self._controller is None:
            return False
        self._controller.abort.remote()  # it does when it is not just waiting for workers to start
        await asyncio.sleep(SECONDS_TO_ABORT)
        ray.kill(self._controller)
        return True

    async def begin(self) -> None:
        """A new group of workers starts: what its forerunners were to save is done or lost; STOP stays."""
        self._notice = Notice.STOP if self._notice == Notice.STOP else Notice.NONE
        self._events.append(WorkersStarting())

    async def notice_above(self, heard: Notice) -> Notice:
        """The first notice that is more urgent than ``heard``, when there is one."""
        while self._notice <= heard:
            self._changed.clear()
            await self._changed.wait()
        return self._notice


def start_mailbox(run: str) -> Any:
    """A run's Mailbox actor. It carries the run's address as its name, so there is one. Raises AlreadyRuns."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    own = {"name": f"mailbox {run}", "namespace": "aign", "scheduling_strategy": here}
    try:
        # it lives on if its process is killed: what is lost with it was only told
        return ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(Mailbox).options(**own).remote()  # type: ignore[attr-defined]
    except ValueError:
        raise AlreadyRuns(run, "runs already on this cluster", "wait for it, or stop it first") from None


class NoticeReader:
    """The loop's ``look`` on the first worker: it never waits."""

    def __init__(self, mailbox: Any) -> None:
        self._mailbox, self._heard = mailbox, Notice.NONE
        self._next = mailbox.notice_above.remote(self._heard)

    def look(self) -> Notice:
        if self._heard < Notice.STOP and ray.wait([self._next], timeout=0)[0]:
            self._heard = ray.get(self._next)
            self._next = self._mailbox.notice_above.remote(self._heard)
        return self._heard
