"""What the server knows: one JSON file in the state folder, read and written under a lock."""

import contextlib
import fcntl
import json
import os
import time

SETTINGS = {
    "max_queued": 0,
    "qdel_s": 3.0,
    "kill_delay_s": 10.0,
    "node_fail_requeue_s": 5.0,
    "vnodes": {
        "n1": {"ncpus": 4, "ngpus": 2, "mem_kb": 4 << 20},
        "n2": {"ncpus": 4, "ngpus": 2, "mem_kb": 4 << 20},
    },
}


class Refused(Exception):
    """A request that the server does not grant: PBS's exit code and words."""

    def __init__(self, code, message):
        super().__init__(message)
        self.code = code
        self.message = message


def folder():
    """The state folder: by the environment, else `state` beside the program, for callers without one, such as cron."""
    beside = os.path.join(os.path.dirname(os.path.dirname(os.path.realpath(__file__))), "state")
    path = os.environ.get("VITREOUS_FAKE_PBS") or beside
    if not os.path.isdir(path):
        raise SystemExit("fake-pbs: VITREOUS_FAKE_PBS does not say where the state is")
    return os.path.realpath(path)


def path(*names):
    """A file in the state folder."""
    return os.path.join(folder(), *names)


def settings():
    """Settings with their defaults."""
    try:
        with open(path("settings.json"), encoding="utf-8") as file:
            return {**SETTINGS, **json.load(file)}
    except FileNotFoundError:
        return dict(SETTINGS)


def prepare():
    """Makes the folder's parts."""
    os.makedirs(path("spool"), exist_ok=True)


def is_server_alive():
    """Whether the server runs: its pid file names a living process that is no zombie."""
    try:
        with open(path("server.pid"), encoding="ascii") as file:
            pid = int(file.read())
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            return file.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except (OSError, ValueError, IndexError):
        return False


@contextlib.contextmanager
def locked():
    """The state, to be changed; written back when the block ends without an exception."""
    with open(path("lock"), "a", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            with open(path("state.json"), encoding="utf-8") as file:
                text = file.read()
        except FileNotFoundError:
            text = '{"next": 0, "jobs": {}}'
        state = json.loads(text)
        yield state
        changed = json.dumps(state)
        if changed != text:
            temporary = path("state.json.tmp")
            with open(temporary, "w", encoding="utf-8") as file:
                file.write(changed)
            os.replace(temporary, path("state.json"))


def note_execution(job, now=None):
    """One line for each start of a script."""
    with open(path("executions"), "a", encoding="utf-8") as file:
        file.write(f"{job['id']} {job['run_count']} {int(now or time.time())} {job['name']}\n")


def log(message):
    """The server's log."""
    with open(path("server.log"), "a", encoding="utf-8") as file:
        file.write(f"{time.strftime('%H:%M:%S')} {message}\n")
