"""Prints what the server knows in the shapes of OpenPBS 23.06.06: tables, `-f` text and `-F json`."""

import json
import time

from fakepbs import QUEUE, SERVER, VERSION, state

WIDTH = 79


def clock(seconds):
    seconds = int(seconds)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"


def date(unix_s):
    return time.strftime("%a %b %e %H:%M:%S %Y", time.localtime(unix_s))


def used(job, now):
    """resources_used of a job that has run."""
    if job["run_count"] == 0 or job["array"] is not None:
        return {}
    measured = job.get("used") or {"walltime_s": now - job["stime"], "mem_kb": 0}
    return {
        "cpupercent": 0,
        "cput": "00:00:00",
        "mem": f"{measured['mem_kb']}kb",
        "ncpus": sum(chunk["ncpus"] for chunk in job["chunks"]),
        "vmem": f"{measured['mem_kb']}kb",
        "walltime": clock(measured["walltime_s"]),
    }


def wanted(job):
    """Resource_List."""
    chunks = job["chunks"]
    listed = {}
    memory_kb = sum(chunk["mem_kb"] for chunk in chunks)
    if memory_kb:
        listed["mem"] = f"{memory_kb // 1024}mb"
    mpiprocs = sum(chunk["mpiprocs"] for chunk in chunks)
    if mpiprocs > len(chunks):
        listed["mpiprocs"] = mpiprocs
    listed["ncpus"] = sum(chunk["ncpus"] for chunk in chunks)
    gpus = sum(chunk["ngpus"] for chunk in chunks)
    if gpus:
        listed["ngpus"] = gpus
    listed["nodect"] = len(chunks)
    listed["place"] = job["wanted"].get("place", "free" if "select" in job["wanted"] else "pack")
    listed["select"] = job["wanted"].get("select", f"1:ncpus={listed['ncpus']}")
    if job["walltime_s"]:
        listed["walltime"] = clock(job["walltime_s"])
    return listed


def attributes(job, now):
    """A job as `qstat -f -F json` tells it, in its order."""
    sequence = job["id"].split(".")[0].replace("[]", "")
    folder = job["origin"]["PBS_O_WORKDIR"]

    def file(given, letter):
        index = ".^array_index^" if job["array"] is not None else ""
        default = f"{folder}/{job['name']}.{letter}{sequence}{index}"
        return f"{SERVER}:{given or default}"

    found = {"Job_Name": job["name"], "Job_Owner": f"{job['owner']}@{SERVER}"}
    if used(job, now):
        found["resources_used"] = used(job, now)
    found.update(job_state=job["state"], queue=QUEUE, server=SERVER)
    if job["account"]:
        found["Account_Name"] = job["account"]
    found.update(Checkpoint="u", ctime=date(job["ctime"]))
    if job["depend"]:
        found["depend"] = ",".join(f"{kind}:{parent}@{SERVER}" for kind, parent in job["depend"])
    found["Error_Path"] = file(job["error"], "e")
    if job["run_count"] and job["array"] is None:
        found["exec_host"] = "+".join(f"{n}/0*{c['ncpus']}" for n, c in zip(job["placed"], job["chunks"]))
        found["exec_vnode"] = "+".join(f"({n}:ncpus={c['ncpus']})" for n, c in zip(job["placed"], job["chunks"]))
    holds = ("u" if job["hold"] else "") + ("s" if job["depend"] and not job.get("depend_met") else "")
    found.update(Hold_Types=(holds or "n") if job["state"] == "H" else "n", Join_Path=job["join"], Keep_Files="n")
    found.update(Mail_Points="a", mtime=date(job["mtime"]), Output_Path=file(job["output"], "o"), Priority=0)
    found.update(qtime=date(job["qtime"]), Rerunable=str(job["rerunable"]), Resource_List=wanted(job))
    if job.get("stime"):
        found["stime"] = date(job["stime"])
    if job.get("obit_time"):
        found["obittime"] = date(job["obit_time"])
    found["substate"] = job["substate"]
    found["Variable_List"] = {**job["origin"], **job["variables"]}
    if job.get("comment"):
        found["comment"] = job["comment"]
    found.update(etime=date(job["qtime"]), run_count=job["run_count"])
    if job["array"] is not None:
        found.update(array(job))
    if job.get("index") is not None:
        found.update(array_id=job["parent"], array_index=job["index"])
    if job["state"] == "F":
        found["Stageout_status"] = 1
        if job.get("exit_status") is not None:
            found["Exit_status"] = job["exit_status"]
    found["Submit_arguments"] = job["arguments"]
    if job["state"] == "F":
        found["history_timestamp"] = int(job["ended"])
    found.update(project="_pbs_project_default", run_version=job["run_version"], Submit_Host=SERVER)
    return found


def array(job):
    indices = job["array"]
    return {"array": "True", "array_indices_submitted": f"{indices[0]}-{indices[-1]}"}


def as_json(jobs, now):
    """`qstat -f -F json`; without jobs there is no `Jobs` at all, as recorded."""
    whole = {"timestamp": int(now), "pbs_version": VERSION, "pbs_server": SERVER}
    if jobs:
        whole["Jobs"] = {job["id"]: attributes(job, now) for job in jobs}
    return json.dumps(whole, indent="\t", separators=(",", ":\t"))


def as_text(job, now, is_wide):
    """`qstat -f`: long values are broken, variables at commas."""
    lines = [f"Job Id: {job['id']}"]
    for name, value in attributes(job, now).items():
        if name == "Variable_List":
            text = ",".join(f"{key}={one}" for key, one in value.items())
            lines += folded(f"    {name} = {text}", is_wide, at_commas=True)
        elif isinstance(value, dict):
            lines += [f"    {name}.{key} = {one}" for key, one in value.items()]
        else:
            lines += folded(f"    {name} = {value}", is_wide, at_commas=False)
    return "\n".join(lines) + "\n"


def folded(line, is_wide, at_commas):
    if is_wide:
        return [line]
    lines = []
    while len(line) > WIDTH:
        cut = line.rfind(",", 0, WIDTH) + 1 if at_commas else WIDTH
        cut = cut if cut > 4 else WIDTH
        lines.append(line[:cut])
        line = "\t" + line[cut:]
    return [*lines, line]


def table(jobs, now):
    """Plain `qstat`; nothing at all without jobs."""
    if not jobs:
        return ""
    lines = [
        "Job id            Name             User              Time Use S Queue",
        "----------------  ---------------- ----------------  -------- - -----",
    ]
    for job in jobs:
        time_used = used(job, now)
        shown = time_used["cput"] if time_used else "0"
        name, owner = job["name"][:16], job["owner"][:16]
        lines.append(f"{job['id']:17} {name:16} {owner:16} {shown:>9} {job['state']} {QUEUE:16}")
    return "\n".join(lines) + "\n"


def queue(known, is_full, form):
    """`qstat -Q`, `-Q -f`, `-Q -f -F json`."""
    jobs = [job for job in known["jobs"].values() if job.get("parent") is None]
    counts = {letter: sum(job["state"] == letter for job in jobs) for letter in "QRHWE"}
    if not is_full:
        return (
            "Queue              Max   Tot Ena Str   Que   Run   Hld   Wat   Trn   Ext Type\n"
            "---------------- ----- ----- --- --- ----- ----- ----- ----- ----- ----- ----\n"
            f"{QUEUE:16} {0:5} {sum(counts.values()):5} yes yes {counts['Q']:5} {counts['R']:5} {counts['H']:5} "
            f"{counts['W']:5} {0:5} {counts['E']:5} Exec\n"
        )
    found = {
        "queue_type": "Execution",
        "total_jobs": sum(counts.values()),
        "state_count": f"Transit:0 Queued:{counts['Q']} Held:{counts['H']} Waiting:0 Running:{counts['R']} Exiting:0 Begun:0 ",
        "resources_max": {"walltime": "48:00:00"},
        "enabled": "True",
        "started": "True",
    }
    if form == "json":
        whole = {"timestamp": int(time.time()), "pbs_version": VERSION, "pbs_server": SERVER, "Queue": {QUEUE: found}}
        return json.dumps(whole, indent="\t", separators=(",", ":\t")) + "\n"
    lines = [f"Queue: {QUEUE}"]
    for name, value in found.items():
        if isinstance(value, dict):
            lines += [f"    {name}.{key} = {one}" for key, one in value.items()]
        else:
            lines.append(f"    {name} = {value}")
    return "\n".join(lines) + "\n\n"


def server_status(known, is_full):
    """`qstat -B` and `-B -f`."""
    total = sum(job["state"] != "F" for job in known["jobs"].values())
    if is_full:
        return f"Server: {SERVER}\n    server_state = Active\n    server_host = {SERVER}\n    total_jobs = {total}\n    default_queue = {QUEUE}\n    pbs_version = {VERSION}\n\n"
    return (
        "Server             Max   Tot   Que   Run   Hld   Wat   Trn   Ext Status\n"
        "---------------- ----- ----- ----- ----- ----- ----- ----- ----- -----------\n"
        f"{SERVER:16} {0:5} {total:5} {0:5} {0:5} {0:5} {0:5} {0:5} {0:5} Active\n"
    )


def nodes(known, form):
    """`pbsnodes -a`."""
    vnodes, lost = state.settings()["vnodes"], known.get("lost", {})
    found = {}
    for name, has in vnodes.items():
        found[name] = {
            "Mom": SERVER,
            "ntype": "PBS",
            "state": "down" if name in lost else "free",
            "pcpus": has["ncpus"],
            "resources_available": {
                "arch": "linux",
                "host": SERVER,
                "mem": f"{has['mem_kb']}kb",
                "ncpus": has["ncpus"],
                "ngpus": has["ngpus"],
                "vnode": name,
            },
            "sharing": "default_shared",
        }
    if form == "json":
        whole = {"timestamp": int(time.time()), "pbs_version": VERSION, "pbs_server": SERVER, "nodes": found}
        return json.dumps(whole, indent="\t", separators=(",", ":\t")) + "\n"
    lines = []
    for name, node in found.items():
        lines.append(name)
        for key, value in node.items():
            if isinstance(value, dict):
                lines += [f"     {key}.{one} = {two}" for one, two in value.items()]
            else:
                lines.append(f"     {key} = {value}")
        lines.append("")
    return "\n".join(lines) + "\n"
