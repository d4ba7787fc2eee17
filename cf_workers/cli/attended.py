"""`python -m cf_workers.cli.attended PATIENCE MODULE ARGS…`: run a module, stop it when the starter is gone.

The starter holds the other end of standard input: when it dies, however it dies, the pipe ends and this
process asks itself to stop, insists after PATIENCE seconds, and then ends. So a command that is killed leaves
no worker behind.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import threading
import time

_AT_ONCE_WITHIN = 10.0
"""What a worker that was told twice to stop may take to give back what it holds."""


def _follow_the_starter(patience: float) -> None:
    while os.read(0, 1):
        pass
    for number, seconds in ((signal.SIGTERM, patience), (signal.SIGTERM, _AT_ONCE_WITHIN)):
        os.kill(os.getpid(), number)
        time.sleep(seconds)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    patience = float(sys.argv[1])
    threading.Thread(target=_follow_the_starter, args=(patience,), name="starter", daemon=True).start()
    del sys.argv[:2]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
