"""Is that process the server we started, and does it answer?"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path

ANSWER_WITHIN = 2.0


@dataclass(frozen=True)
class Answer:
    """What a server said that took our password.

    Args:
        serving: false while it still loads its data.
    """

    pid: int
    serving: bool


def ask(port: int, password: str) -> Answer | None:
    """The answer of our server on this port; `None` when there is none, or it is somebody else's."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=ANSWER_WITHIN) as connection:
            connection.sendall(_command("AUTH", password) + _command("PING") + _command("INFO", "server"))
            with connection.makefile("rb") as lines:
                if lines.readline() != b"+OK\r\n":
                    return None
                serving = lines.readline().startswith(b"+PONG")
                size = int(lines.readline().lstrip(b"$"))
                return Answer(_process_id(lines.read(size)), serving)
    except (OSError, ValueError):
        return None


def start_time(pid: int) -> str | None:
    """When a process started, in the system's own words; `None` when there is no such process."""
    stat_file = Path(f"/proc/{pid}/stat")
    if Path("/proc/self/stat").exists():
        with contextlib.suppress(OSError, IndexError):
            return stat_file.read_text().rpartition(")")[2].split()[19]
        return None
    question = ["ps", "-o", "lstart=", "-p", str(pid)]
    listed = subprocess.run(question, capture_output=True, text=True, check=False)  # noqa: S603
    return listed.stdout.strip() or None


def send_signal(pid: int, started: str | None, number: signal.Signals) -> bool:
    """Signals exactly that process: never another one that has got its id since."""
    if started is None or start_time(pid) != started:
        return False
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
        return True
    return False


def _command(*words: str) -> bytes:
    parts = [f"${len(word.encode())}\r\n{word}\r\n" for word in words]
    return f"*{len(words)}\r\n{''.join(parts)}".encode()


def _process_id(info: bytes) -> int:
    for line in info.splitlines():
        name, _, value = line.partition(b":")
        if name == b"process_id":
            return int(value)
    raise ValueError("a server that does not tell its process id")
