"""Watches one running script, as a PBS mom does: limits of time and memory, its end, its output."""

import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import time

from fakepbs import SERVER, state

KILLED_FOR_MEMORY = -27
KILLED_FOR_TIME = -29
PAGE_KB = os.sysconf("SC_PAGE_SIZE") // 1024


def environment_of(job):
    """What the script finds in its environment: nothing of the submitting shell but what it asked for."""
    user = pwd.getpwuid(os.getuid())
    found = {
        "HOME": user.pw_dir,
        "LOGNAME": user.pw_name,
        "USER": user.pw_name,
        "SHELL": user.pw_shell or "/bin/sh",
        "PATH": os.environ["PATH"],
        "TZ": os.environ.get("TZ", ""),
        "NCPUS": str(sum(chunk["ncpus"] for chunk in job["chunks"])),
        "OMP_NUM_THREADS": str(job["chunks"][0].get("ompthreads", job["chunks"][0]["ncpus"])),
        "PBS_ENVIRONMENT": "PBS_BATCH",
        "PBS_JOBCOOKIE": "12E70B234D61FDD3160E21776D66DC52",
        "PBS_JOBDIR": user.pw_dir,
        "PBS_JOBID": job["id"],
        "PBS_JOBNAME": job["name"],
        "PBS_MOMPORT": "15003",
        "PBS_NODEFILE": state.path("spool", f"{job['id']}.{job['run_version']}.nodes"),
        "PBS_NODENUM": "0",
        "PBS_QUEUE": job["queue"],
        "PBS_TASKNUM": "1",
        **job["origin"],
        **job["variables"],
    }
    if not found["TZ"]:
        del found["TZ"]
    if job.get("index") is not None:
        found["PBS_ARRAY_INDEX"] = str(job["index"])
        found["PBS_ARRAY_ID"] = job["parent"]
    # commands in the job reach the same stand-in
    found["VITREOUS_FAKE_PBS"] = state.folder()
    return found


def run(job_id, run_version):
    """Runs the script of a job to its end and leaves the obituary for the server."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # the server ignores it, and what it starts inherits that
    with state.locked() as known:
        job = known["jobs"][job_id]
    base = state.path("spool", f"{job_id}.{run_version}")
    with open(f"{base}.nodes", "w", encoding="ascii") as file:
        for chunk in job["chunks"]:
            file.write(f"{socket.gethostname()}\n" * int(chunk["mpiprocs"]))
    home = pwd.getpwuid(os.getuid()).pw_dir
    with open(f"{base}.OU", "wb") as output, open(f"{base}.ER", "wb") as error:
        streams = {"oe": (output, output), "eo": (error, error)}.get(job["join"], (output, error))
        started = time.monotonic()
        # a login shell that reads the script's name: its shebang is honoured, a signal becomes 128 + its number
        child = subprocess.Popen(
            ["-bash" if not job["shell"] else f"-{os.path.basename(job['shell'])}"],
            executable=job["shell"] or "/bin/bash",
            stdin=subprocess.PIPE,
            stdout=streams[0],
            stderr=streams[1],
            env=environment_of(job),
            cwd=home if os.path.isdir(home) else "/",
            start_new_session=True,
        )
        with open(f"{base}.session", "w", encoding="ascii") as file:
            file.write(str(child.pid))
        child.stdin.write(f"{state.path('spool', job['script'])}\n".encode())
        child.stdin.close()
        status, peak_kb = watch(job, child, started, streams[1])
        end_session(child.pid)
    deliver(job, base)
    obituary = {"status": status, "walltime_s": time.monotonic() - started, "mem_kb": peak_kb, "session": child.pid}
    with open(f"{base}.obit.tmp", "w", encoding="ascii") as file:
        json.dump(obituary, file)
    os.replace(f"{base}.obit.tmp", f"{base}.obit")


def watch(job, child, started, error):
    """Waits for the end, killing what takes more than it asked for; the exit status as PBS tells it, and peak memory."""
    memory_kb = sum(chunk["mem_kb"] for chunk in job["chunks"])
    verdict, peak_kb, asked_at = None, 0, 0.0
    while child.poll() is None:
        time.sleep(0.1)
        used_kb = resident_kb(child.pid)
        peak_kb = max(peak_kb, used_kb)
        ran_s = time.monotonic() - started
        if verdict is None and memory_kb and used_kb > memory_kb:
            verdict = KILLED_FOR_MEMORY
            words = f"mem {used_kb}kb exceeded limit {memory_kb}kb"
        elif verdict is None and job["walltime_s"] and ran_s > job["walltime_s"]:
            verdict = KILLED_FOR_TIME
            words = f"walltime {int(ran_s)} exceeded limit {int(job['walltime_s'])}"
        if verdict is not None and not asked_at:
            error.write(f"=>> PBS: job killed: {words}\n".encode())
            error.flush()
            asked_at = time.monotonic()
            signal_session(child.pid, signal.SIGKILL if verdict == KILLED_FOR_MEMORY else signal.SIGTERM)
        if asked_at and time.monotonic() - asked_at > state.settings()["kill_delay_s"]:
            signal_session(child.pid, signal.SIGKILL)
    if verdict is not None:
        return verdict, peak_kb
    # the shell itself killed: 256 and the signal, as 271 after qdel
    return (child.returncode if child.returncode >= 0 else 256 - child.returncode), peak_kb


def end_session(session):
    """What the job's shell has left behind does not outlive the job, but may still put its things in order."""
    until = time.monotonic() + state.settings()["qdel_s"]
    while any(session_members(session)) and time.monotonic() < until:
        time.sleep(0.1)
    signal_session(session, signal.SIGKILL)


def session_members(session):
    """Living processes of a session."""
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat", encoding="ascii", errors="replace") as file:
                fields = file.read().rsplit(")", 1)[1].split()
        except (OSError, IndexError):
            continue
        if fields[3] == str(session) and fields[0] != "Z":
            yield int(name), int(fields[21]) * PAGE_KB


def resident_kb(session):
    return sum(size for _, size in session_members(session))


def signal_session(session, number):
    """Sends a signal to every process of a session."""
    for pid, _ in session_members(session):
        try:
            os.kill(pid, number)
        except OSError:
            pass


def deliver(job, base):
    """Moves the output to where it was asked for: only now, as PBS does. What cannot be delivered stays in the spool."""
    sequence = job["id"].split(".")[0].split("[")[0]
    index = "" if job.get("index") is None else f".{job['index']}"
    wanted = {
        "OU": (job["output"], f"{job['name']}.o{sequence}{index}", job["join"] != "eo"),
        "ER": (job["error"], f"{job['name']}.e{sequence}{index}", job["join"] != "oe"),
    }
    for ending, (target, default, is_wanted) in wanted.items():
        if not is_wanted:
            continue
        target = target.split(":", 1)[1] if target.startswith(f"{SERVER}:") else target.removeprefix(":")
        target = os.path.join(job["origin"]["PBS_O_WORKDIR"], os.path.expanduser(target))
        if os.path.isdir(target) or target.endswith("/"):
            target = os.path.join(target, default)
        if job.get("index") is not None:
            target = target.replace("^array_index^", str(job["index"]))
        try:
            shutil.copyfile(f"{base}.{ending}", target)
        except OSError as error:
            state.log(f"{job['id']}: cannot deliver {target}: {error}")
