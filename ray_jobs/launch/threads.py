"""Work beside the main thread whose end or error one can wait for."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any


def in_thread(name: str, work: Callable[[], Any]) -> Future:
    """Start work in a thread of its own, which nothing waits for at the end of the process."""
    future: Future = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, name=name, daemon=True).start()
    return future
