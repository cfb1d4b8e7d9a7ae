"""SIGTERM ends a command as Ctrl-C does: what it has under way is given up, closed and cleaned up first."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType


@dataclass(slots=True)
class Termination:
    """Whether the process was told to end."""

    asked: bool = False


class Terminated(SystemExit):
    """The process was told to end, and no loop was there to cancel its work.

    Not KeyboardInterrupt: after one in the middle of an import Python ends by SIGINT, whoever catches it.
    """


@contextmanager
def terminations() -> Iterator[Termination]:
    """Within, SIGTERM ends the work as Ctrl-C does, once; without, it does what it did. Nothing beside the main thread.

    A second one is left unanswered: `timeout` sends two, and cleaning up must not be broken off.
    """
    told = Termination()
    if threading.current_thread() is not threading.main_thread():
        yield told
        return

    def end(number: int, frame: FrameType | None) -> None:
        if told.asked:
            return
        told.asked = True
        # asyncio has its own while a loop runs: it cancels. Where Ctrl-C is ignored (a shell's `&`) there is none.
        interrupt = signal.getsignal(signal.SIGINT)
        if callable(interrupt) and interrupt is not signal.default_int_handler:
            interrupt(signal.SIGINT, frame)
        else:
            raise Terminated

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield told
    finally:
        signal.signal(signal.SIGTERM, before)
