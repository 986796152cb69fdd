"""Command lines: qsub, qstat, qdel, qrerun, qsig, qhold, qrls, pbsnodes, and the server's own."""

import getopt
import os
import pwd
import shlex
import signal
import sys
import time

from fakepbs import QUEUE, SERVER, VERSION, mom, request, server, shapes, state
from fakepbs.state import Refused

RUBBISH = "<html><head><title>502 Bad Gateway</title></head>\0\x7f\n"


def main(command, arguments):
    """Runs a command; its exit code."""
    known = {
        "qsub": qsub, "qstat": qstat, "qdel": qdel, "qrerun": qrerun, "qsig": qsig, "qhold": qhold, "qrls": qrls,
        "pbsnodes": pbsnodes,
    }  # fmt: skip
    if command == "pbs_server":
        return pbs_server(arguments)
    if command not in known:
        print(f"fake-pbs: no command `{command}`", file=sys.stderr)
        return 127
    if arguments == ["--version"]:
        print(f"pbs_version = {VERSION}")
        return 0
    fault = trouble(command)
    if fault is not None:
        return fault
    try:
        return known[command](arguments) or 0
    except Refused as refusal:
        print(refusal.message, file=sys.stderr)
        return refusal.code
    except getopt.GetoptError as error:
        print(f"{command}: {error.msg}\nusage: {command} …", file=sys.stderr)
        return 2


def trouble(command):
    """Faults asked for by files in the state folder, and a server that does not run."""
    try:
        with open(state.path("slow"), encoding="ascii") as file:
            time.sleep(float(file.read()))
    except FileNotFoundError:
        pass
    if os.path.exists(state.path("rubbish")):
        sys.stdout.write(RUBBISH)
        return 0
    if os.path.exists(state.path("down")) or not state.is_server_alive():
        print(f"Connection refused\n{command}: cannot connect to server {SERVER} (errno=111)", file=sys.stderr)
        return 111
    return None


def qsub(arguments):
    options, operands = request.split(arguments)
    if operands:
        try:
            with open(operands[0], encoding="utf-8", errors="surrogateescape") as file:
                text = file.read()
        except OSError as error:
            raise Refused(1, f"qsub: script file:: {error.strerror}") from error
        name = os.path.basename(operands[0])
    else:
        text, name = sys.stdin.read(), "STDIN"
    job = request.job_of(request.directives(text) + options, name, os.environ)
    user = pwd.getpwuid(os.getuid())
    job["arguments"] = shlex.join(arguments)
    job["origin"] = {
        "PBS_O_HOME": user.pw_dir,
        "PBS_O_LANG": os.environ.get("LANG", "C.UTF-8"),
        "PBS_O_LOGNAME": user.pw_name,
        "PBS_O_PATH": os.environ.get("PATH", ""),
        "PBS_O_MAIL": f"/var/mail/{user.pw_name}",
        "PBS_O_SHELL": user.pw_shell,
        "PBS_O_INTERACTIVE_AUTH_METHOD": "resvport",
        "PBS_O_INTERACTIVE_ENCRYPT_METHOD": "",
        "PBS_O_WORKDIR": os.getcwd(),
        "PBS_O_SYSTEM": "Linux",
        "PBS_O_QUEUE": QUEUE,
        "PBS_O_HOST": SERVER,
    }
    with state.locked() as known:
        job["script"] = f"{known['next']}.SC"
        script = state.path("spool", job["script"])
        with open(script, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(text)
        os.chmod(script, 0o700)
        job_id = server.submit(known, job, user.pw_name)
    print(job_id)


def listed(known, ids, is_all, with_subjobs):
    """The jobs asked for, complaints about those that cannot be shown, and the exit code."""
    found, complaints, code = [], [], 0
    if not ids:
        jobs = known["jobs"].values()
        found = [job for job in jobs if is_all or job["state"] != "F"]
    for text in ids:
        try:
            job = server.find(known, text, "qstat")
        except Refused as refusal:
            complaints.append(refusal.message)
            code = refusal.code
            continue
        if job["state"] == "F" and not is_all:
            words = "Job has finished, use -x or -H to obtain historical job information"
            complaints.append(f"qstat: {job['id']} {words}")
            code = 35
            continue
        found.append(job)
        if with_subjobs and job["array"] is not None:
            found += server.subjobs(known, job)
    if not ids and not with_subjobs:
        found = [job for job in found if job.get("parent") is None]
    return sorted(found, key=order), complaints, code


def order(job):
    number = int(job["id"].split(".")[0].split("[")[0])
    return number, -1 if job.get("index") is None else job["index"]


def qstat(arguments):
    options, ids = getopt.gnu_getopt(arguments, "xHtfwQBanrs1JTu:F:G:")
    given = {name for name, _ in options}
    form = dict(options).get("-F", "")
    now = time.time()
    with state.locked() as known:
        if "-Q" in given:
            sys.stdout.write(shapes.queue(known, "-f" in given, form))
            return 0
        if "-B" in given:
            sys.stdout.write(shapes.server_status(known, "-f" in given))
            return 0
        if form == "json":
            ids = ids[:1]  # what the real one does with several
        jobs, complaints, code = listed(known, ids, "-x" in given or "-H" in given, "-t" in given)
    users = dict(options).get("-u", "")
    if users:
        jobs = [job for job in jobs if job["owner"] in users.split(",")]
    for complaint in complaints:
        print(complaint, file=sys.stderr)
    if "-f" in given and form == "json":
        print(shapes.as_json(jobs, now))
    elif "-f" in given:
        for job in jobs:
            print(shapes.as_text(job, now, "-w" in given))
    else:
        sys.stdout.write(shapes.table(jobs, now))
    return code


def each(command, ids, act):
    """Does something with each job; complains about those that refuse and goes on, as the real commands do."""
    code = 0
    with state.locked() as known:
        for text in ids:
            try:
                act(known, text)
            except Refused as refusal:
                print(refusal.message, file=sys.stderr)
                code = refusal.code
    if not ids:
        print(f"usage: {command} … job_identifier …", file=sys.stderr)
        return 2
    return code


def qdel(arguments):
    options, ids = getopt.gnu_getopt(arguments, "W:x")
    force = any(value == "force" for _, value in options)

    def act(known, text):
        if ("-x", "") in options and server.find(known, text, "qdel")["state"] == "F":
            job = known["jobs"].pop(request.full_id(text))
            for part in server.subjobs(known, job):
                del known["jobs"][part["id"]]
            return
        server.delete(known, text, force)

    return each("qdel", ids, act)


def qrerun(arguments):
    _, ids = getopt.gnu_getopt(arguments, "W:")

    def act(known, text):
        job = server.find(known, text, "qrerun")
        raise Refused(159, f"qrerun: Unauthorized Request  {job['id']}")

    return each("qrerun", ids, act)


def qsig(arguments):
    options, ids = getopt.gnu_getopt(arguments, "s:")
    name = dict(options).get("-s", "SIGTERM").upper()
    number = int(name) if name.isdigit() else getattr(signal, name if name.startswith("SIG") else f"SIG{name}")

    def act(known, text):
        job = server.find(known, text, "qsig")
        if job["state"] != "R":
            raise Refused(168, f"qsig: Request invalid for state of job {job['id']}")
        server.signal_job(job, number)

    return each("qsig", ids, act)


def qhold(arguments):
    _, ids = getopt.gnu_getopt(arguments, "h:")

    def act(known, text):
        job = server.find(known, text, "qhold")
        if job["state"] in "QH":
            job.update(hold=True, state="H", substate=server.HELD)

    return each("qhold", ids, act)


def qrls(arguments):
    _, ids = getopt.gnu_getopt(arguments, "h:")

    def act(known, text):
        job = server.find(known, text, "qrls")
        job["hold"] = False
        if job["state"] == "H" and (not job["depend"] or job.get("depend_met")):
            job.update(state="Q", substate=server.QUEUED)

    return each("qrls", ids, act)


def pbsnodes(arguments):
    options, _ = getopt.gnu_getopt(arguments, "avSjLF:")
    with state.locked() as known:
        sys.stdout.write(shapes.nodes(known, dict(options).get("-F", "")))


def pbs_server(arguments):
    """`--fork` starts the server; `--lose NODE` and `--find NODE` cut a node off and bring it back; `--mom ID RUN` is
    what the server starts for each run."""
    state.prepare()
    if arguments[:1] == ["--mom"]:
        mom.run(arguments[1], int(arguments[2]))
    elif arguments[:1] == ["--lose"]:
        with state.locked() as known:
            known.setdefault("lost", {})[arguments[1]] = time.time()
    elif arguments[:1] == ["--find"]:
        with state.locked() as known:
            known.setdefault("lost", {}).pop(arguments[1], None)
    elif arguments[:1] == ["--fork"]:
        if os.fork() == 0:
            os.setsid()
            log = os.open(state.path("server.log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            for stream in (0, 1, 2):
                os.dup2(log, stream)
            with open(state.path("server.pid"), "w", encoding="ascii") as file:
                file.write(str(os.getpid()))
            server.serve()
    else:
        print("usage: pbs_server --fork | --lose NODE | --find NODE", file=sys.stderr)
        return 2
    return 0
