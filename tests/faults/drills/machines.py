"""A worker or a machine goes."""

import time

from ray_jobs.runs.checkpoints import STATE_FILE, folder_name
from tests.faults import machines
from tests.faults.drills.drill import MOMENT, Skipped, drill
from tests.faults.proxy import Break, Request, Trap
from tests.faults.run import Run


@drill("worker-1")
def worker_1(run: Run) -> None:
    """kill -9 of the second worker in the middle of a step."""
    _kill_worker(run, 1)


@drill("worker-0")
def worker_0(run: Run) -> None:
    """kill -9 of the first worker, which writes the run, in the middle of a step."""
    _kill_worker(run, 0)


def _kill_worker(run: Run, rank: int) -> None:
    run.start()
    run.wait_for_checkpoint(MOMENT)
    run.fault(run.workers()[rank].kill)
    run.finish()


@drill("upload")
def upload(run: Run) -> None:
    """kill -9 of the first worker when half of a checkpoint's weights are sent."""
    _kill_sender(run, r"generator\.safetensors", share=0.5)


@drill("commit")
def commit(run: Run) -> None:
    """kill -9 of the first worker when a checkpoint's weights have arrived and state.json has not."""
    _kill_sender(run, STATE_FILE, share=0.0)


def _kill_sender(run: Run, file: str, share: float) -> None:
    def kill(request: Request) -> None:
        run.fault(run.sender_of(request.client_port).kill)

    trap = Trap(rf"PUT .*/{folder_name(MOMENT)}/{file}", Break(share=share, first=kill))
    run.proxy.rule = trap
    run.start()
    run.finish()
    run.expect(trap.sprung.is_set(), "the moment never came")


@drill("hang")
def hang(run: Run) -> None:
    """A worker stops answering without ending (SIGSTOP)."""
    run.start("--collective-timeout-s", "20")
    run.wait_for_checkpoint(MOMENT)
    run.fault(run.workers()[1].suspend)
    run.finish()


@drill("driver")
def driver(run: Run) -> None:
    """kill -9 of the command; what Ray leaves behind is ended, and the same command goes on."""
    run.start()
    run.wait_for_checkpoint(MOMENT)
    run.fault(run.kill_command)
    started = time.monotonic()
    while run.workers_alive() and time.monotonic() - started < 30:
        time.sleep(0.1)
    run.expect(not run.workers_alive(), "workers outlive the command by 30 s")
    run.notes.append(f"workers ended by themselves after {time.monotonic() - started:.1f} s")
    run.end()
    run.start()
    run.finish()


@drill("node-replaced")
def node_replaced(run: Run) -> None:
    """A node with one of the two workers goes, with its disk; another joins."""
    with machines.cluster(run) as cluster:
        run.start(address=cluster.address)
        run.wait_for_checkpoint(MOMENT)
        run.fault(cluster.remove_node)
        cluster.add_node()
        run.finish()


@drill("node-gone", same_weights=False)
def node_gone(run: Run) -> None:
    """A node with one of the workers goes, with its disk; the run goes on with fewer workers."""
    with machines.cluster(run) as cluster:
        run.start(workers="1:2", address=cluster.address)
        run.wait_for_checkpoint(MOMENT)
        run.fault(cluster.remove_node)
        run.finish()


@drill("disk-full")
def disk_full(run: Run) -> None:
    """The disk of the workers' temporary files fills up; after making room the same command goes on."""
    if not machines.can_mount():
        raise Skipped("a small disk can be mounted by root only")
    ballast = run.temporary / "ballast"
    with machines.small_disk(run.temporary):
        run.start()
        run.wait_for_checkpoint(MOMENT)
        run.fault(lambda: machines.fill(ballast))
        status = run.wait()
        run.notes.append(f"status {status}: {run.last_line()}")
        run.expect(status != 0, "ended well on a full disk")
        run.expect(run.last_line().startswith("error: "), f"did not end in one clear line: {run.last_line()}")
        run.expect("Traceback" not in run.said(), "showed a traceback")
        kept = [step for step in run.committed_before if run.read(step)]
        run.expect(bool(kept) and max(kept) == max(run.committed_before), "the newest checkpoint was lost")
        ballast.unlink()
        run.start()
        run.finish()
        run.end()  # nothing may hold the disk when it goes
