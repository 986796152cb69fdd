"""The server: turns events into states, and starts what may start. Everything here works on the locked state."""

import json
import os
import signal
import subprocess
import sys
import time

from fakepbs import SERVER, mom, state
from fakepbs.request import full_id
from fakepbs.state import Refused

# substates of OpenPBS that the recorded answers show, and a few of its manual
QUEUED, HELD, WAITING, RUNNING, FINISHED, TERMINATED, FAILED = 10, 20, 22, 42, 92, 91, 93


def tick(known):
    """One round: ends, arrays, lost nodes, dependencies, starts."""
    now = time.time()
    for job in known["jobs"].values():
        if job["state"] == "R":
            read_obituary(job, now)
    requeue_from_lost_nodes(known, now)
    for job in known["jobs"].values():
        if job["array"] is not None:
            close_array(known, job, now)
    for job in known["jobs"].values():
        if job["state"] == "H" and job["depend"]:
            look_at_dependencies(known, job, now)
    for job in list(known["jobs"].values()):
        if job["state"] in "QB" and job["parent"] is None:
            consider(known, job, now)


def read_obituary(job, now):
    """A run that has ended. That of an earlier run, still going on at a lost node, is nobody's any more."""
    base = state.path("spool", f"{job['id']}.{job['run_version']}")
    if job.get("deleted_at") and now - job["deleted_at"] > state.settings()["kill_delay_s"]:
        signal_job(job, signal.SIGKILL)
    if now < job.get("stays_until", 0) or not os.path.exists(f"{base}.obit"):
        return
    with open(f"{base}.obit", encoding="ascii") as file:
        obituary = json.load(file)
    job["used"] = {"walltime_s": obituary["walltime_s"], "mem_kb": obituary["mem_kb"]}
    status = obituary["status"]
    if job.get("deleted_at"):
        finish(job, TERMINATED, now, status if status > 255 else 271, f"terminated by {job['owner']}@{SERVER}")
    elif status == 0:
        finish(job, FINISHED, now, 0, "finished")
    else:
        finish(job, FAILED, now, status, "failed")


def finish(job, substate, now, status, words):
    """The end of a job; `status` is None for one that never ran."""
    job.update(state="F", substate=substate, mtime=now, ended=now)
    if status is None:
        job["comment"] = words
    else:
        job["exit_status"] = status
        job["obit_time"] = now
        job["comment"] = job.get("comment", "") + f" and {words}"
    state.log(f"{job['id']}: F/{substate} {status}")


def requeue_from_lost_nodes(known, now):
    """Jobs whose node has not been heard of for a while run again elsewhere, though their old scripts may live on."""
    lost = known.setdefault("lost", {})
    for job in known["jobs"].values():
        node = job.get("vnode")
        if job["state"] != "R" or node not in lost or now - lost[node] < state.settings()["node_fail_requeue_s"]:
            continue
        if job["rerunable"]:
            job.update(state="Q", substate=QUEUED, mtime=now, vnode=None, run_version=job["run_version"] + 1)
            job["comment"] = f"Job requeued, node {node} is down"
            state.log(f"{job['id']}: requeued from {node}")
        else:
            finish(job, TERMINATED, now, 271, f"deleted, node {node} is down")


def subjobs(known, parent):
    return [job for job in known["jobs"].values() if job.get("parent") == parent["id"]]


def close_array(known, job, now):
    """An array has ended when all its subjobs have; its own Exit_status is 0 even if some failed, as recorded."""
    if job["state"] != "B":
        return
    parts = subjobs(known, job)
    if all(part["state"] == "F" for part in parts):
        well = all(part.get("exit_status") == 0 for part in parts)
        if job.get("deleted_at"):
            finish(job, TERMINATED, now, 1, f"terminated by {job['owner']}@{SERVER}")
        else:
            finish(job, FINISHED if well else FAILED, now, 0, "finished")


def look_at_dependencies(known, job, now):
    """Released when all parents have ended as wanted; ended without a run as soon as one cannot any more."""
    for kind, parent_id in job["depend"]:
        parent = known["jobs"].get(parent_id)
        verdict = satisfied(kind, parent)
        if verdict is False:
            words = f"Job deleted as result of dependency on job {parent_id}"
            finish(job, FINISHED, now, None, words)
            return
        if verdict is None:
            return
    job["depend_met"] = True
    if not job["hold"]:
        job.update(state="Q", substate=QUEUED, mtime=now)


def satisfied(kind, parent):
    """True, False for never, None for not yet. A job that nobody knows satisfies nothing, as recorded."""
    if parent is None:
        return False
    if kind in ("after", "afterstart"):
        return True if parent["state"] not in "QH" else None
    if parent["state"] != "F":
        return None
    return {
        "afterok": parent.get("exit_status") == 0,
        "afternotok": parent.get("exit_status") not in (0, None),
        "afterany": True,
    }.get(kind, False)


def taken(known):
    """What is taken of each vnode."""
    used = {}
    for job in known["jobs"].values():
        if job["state"] != "R":
            continue
        for node, chunk in zip(job["placed"], job["chunks"]):
            mine = used.setdefault(node, {"ncpus": 0, "ngpus": 0, "mem_kb": 0})
            for name in mine:
                mine[name] += chunk.get(name, 0)
    return used


def place(known, chunks):
    """Vnodes for the chunks: a list, None for not now, or a sentence for never."""
    vnodes, used = state.settings()["vnodes"], taken(known)
    placed = []
    for chunk in chunks:
        fits = [n for n, has in vnodes.items() if all(chunk.get(r, 0) <= has[r] for r in has)]
        if not fits:
            return (
                f"Can Never Run: Insufficient amount of resource: ncpus (R: {chunk['ncpus']} "
                f"A: {max(v['ncpus'] for v in vnodes.values())} T: {max(v['ncpus'] for v in vnodes.values())})"
            )
        for node in fits:
            mine = used.setdefault(node, {"ncpus": 0, "ngpus": 0, "mem_kb": 0})
            if node not in known.get("lost", {}) and all(
                mine[r] + chunk.get(r, 0) <= vnodes[node][r] for r in mine
            ):
                for name in mine:
                    mine[name] += chunk.get(name, 0)
                placed.append(node)
                break
        else:
            return None
    return placed


def consider(known, job, now):
    """Starts a job if there is room; an array begins when its first subjob may start."""
    if job["array"] is not None:
        begin_array(known, job, now)
        return
    if job["state"] != "Q" or job["hold"]:
        return
    placed = place(known, job["chunks"])
    if isinstance(placed, str):
        job["comment"] = placed
    elif placed is None:
        job["comment"] = "Not Running: Insufficient amount of resource: ncpus"
    else:
        start(job, placed, now)


def begin_array(known, job, now):
    if job["state"] == "Q":
        job.update(state="B", mtime=now, comment=f"Job Array Began at {stamp(now)}", stime=now)
        for index in job["array"]:
            part = {**job, "array": None, "index": index, "parent": job["id"], "state": "Q", "substate": QUEUED}
            part["id"] = job["id"].replace("[]", f"[{index}]")
            part["comment"] = ""
            known["jobs"][part["id"]] = part
    running = sum(part["state"] == "R" for part in subjobs(known, job))
    for part in subjobs(known, job):
        if job["at_once"] and running >= job["at_once"]:
            break
        if part["state"] == "Q":
            consider(known, part, now)
            running += part["state"] == "R"


def stamp(now):
    return time.strftime("%a %b %d at %H:%M", time.localtime(now))


def start(job, placed, now):
    job["run_count"] += 1
    where = "+".join(vnode_text(node, chunk) for node, chunk in zip(placed, job["chunks"]))
    job.update(state="R", substate=RUNNING, mtime=now, stime=now, placed=placed, vnode=placed[0])
    job["comment"] = f"Job run at {stamp(now)} on {where}"
    state.note_execution(job, now)
    program = os.path.join(os.path.dirname(os.path.dirname(__file__)), "bin", "pbs_server")
    with open(state.path("server.log"), "ab") as log:
        # in a session of its own: it outlives the server
        subprocess.Popen(
            [sys.executable, program, "--mom", job["id"], str(job["run_version"])],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=log,
            start_new_session=True,
        )


def vnode_text(node, chunk):
    text = f"({node}:ncpus={chunk['ncpus']}"
    text += f":ngpus={chunk['ngpus']}" if chunk["ngpus"] else ""
    return text + (f":mem={chunk['mem_kb']}kb" if chunk["mem_kb"] else "") + ")"


def signal_job(job, number):
    """Signals every process of a running job."""
    try:
        with open(state.path("spool", f"{job['id']}.{job['run_version']}.session"), encoding="ascii") as file:
            mom.signal_session(int(file.read()), number)
    except (OSError, ValueError):
        pass


def submit(known, job, owner):
    """Takes a job in; its id."""
    limit = state.settings()["max_queued"]
    if limit and sum(j["state"] != "F" for j in known["jobs"].values() if j.get("parent") is None) >= limit:
        raise Refused(198, "qsub: Maximum number of jobs already in queue")
    now = time.time()
    number = known["next"]
    known["next"] += 1
    job["id"] = f"{number}{'[]' if job['array'] is not None else ''}.{SERVER}"
    held = job["hold"] or bool(job["depend"])
    job.update(owner=owner, ctime=now, qtime=now, mtime=now, run_count=0, run_version=1, parent=None, index=None)
    job.update(state="H" if held else "Q", substate=(HELD if job["hold"] else WAITING) if held else QUEUED)
    known["jobs"][job["id"]] = job
    return job["id"]


def find(known, text, command):
    job = known["jobs"].get(full_id(text))
    if job is None:
        raise Refused(153, f"{command}: Unknown Job Id {full_id(text)}")
    return job


def delete(known, text, force):
    """`qdel`: a running job stays R for some seconds, as the real one does."""
    job, now = find(known, text, "qdel"), time.time()
    if job["state"] == "F":
        raise Refused(35, f"qdel: Job has finished {job['id']}")
    parts = subjobs(known, job) if job["array"] is not None else [job]
    job["deleted_at"] = now
    for part in parts:
        if part["state"] == "R":
            part["deleted_at"] = now
            part["stays_until"] = 0 if force else now + state.settings()["qdel_s"]
            signal_job(part, signal.SIGKILL if force else signal.SIGTERM)
        elif part["state"] != "F":
            finish(part, TERMINATED, now, None, f"Job deleted by {job['owner']}@{SERVER}")
    if job["array"] is not None and job["state"] in "QH":
        finish(job, TERMINATED, now, None, f"Job deleted by {job['owner']}@{SERVER}")


def serve():
    """The server's loop, until it is told to end."""
    going = True

    def end(_number, _frame):
        nonlocal going
        going = False

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while going:
        with state.locked() as known:
            tick(known)
        time.sleep(0.1)
    os.unlink(state.path("server.pid"))
