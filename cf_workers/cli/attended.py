"""`python -m cf_workers.cli.attended MODULE ARGS…`: run a module, and stop it when the starter is gone.

The starter holds the other end of standard input: when it dies, however it dies, the pipe ends and this
process asks itself to stop. So a command that is killed leaves no worker behind.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import threading


def _follow_the_starter() -> None:
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    threading.Thread(target=_follow_the_starter, name="starter", daemon=True).start()
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
