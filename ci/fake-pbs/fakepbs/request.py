"""What a job asks for: `#PBS` lines, options of `qsub`, selections, times and sizes."""

import getopt
import re
import shlex

from fakepbs import QUEUE, SERVER
from fakepbs.state import Refused

OPTIONS = "A:a:c:C:e:fhIj:J:k:l:m:M:N:o:p:P:q:r:R:S:u:v:VW:Xz"
RESOURCES = {
    "arch", "cput", "file", "host", "mem", "mpiprocs", "ncpus", "ngpus", "nice", "nodect", "nodes", "ompthreads",
    "place", "pmem", "pvmem", "scratch", "select", "vmem", "vnode", "walltime",
}  # fmt: skip
SIZES_KB = {"b": 1 / 1024, "kb": 1, "mb": 1 << 10, "gb": 1 << 20, "tb": 1 << 30}


def split(arguments):
    """Options and operands of a `qsub` command line or a `#PBS` line."""
    try:
        options, operands = getopt.getopt(arguments, OPTIONS)
    except getopt.GetoptError as error:
        raise Refused(2, f"qsub: {error.msg}\nusage: qsub [-A account] …") from error
    return options, operands


def directives(text):
    """Options in the script's own `#PBS` lines: those before the first command."""
    options = []
    for line in text.splitlines():
        if line.startswith("#PBS"):
            options += split(shlex.split(line[4:], comments=True))[0]
        elif line.strip() and not line.startswith("#"):
            break
    return options


def seconds(text):
    """`90`, `1:30`, `12:00:00`."""
    total = 0.0
    for part in text.split(":"):
        total = total * 60 + float(part)
    return total


def kilobytes(text):
    """`100mb`."""
    match = re.fullmatch(r"(\d+)([kmgt]?b?)", text.lower())
    if not match:
        raise Refused(166, "qsub: Illegal attribute or resource value")
    unit = match[2] if match[2].endswith("b") else match[2] + "b"
    return int(int(match[1]) * SIZES_KB[unit])


def resources(given):
    """`-l` options in order, later ones winning: `select=…`, `walltime=…,mem=…`, `nodes=1:ppn=2`."""
    wanted = {}
    for text in given:
        # commas separate resources, but not inside a selection
        for item in re.split(r",(?=[a-z_]+=)", text):
            name, _, value = item.partition("=")
            if name not in RESOURCES:
                raise Refused(187, f"qsub: Unknown resource: {name}")
            wanted[name] = value
    return wanted


def chunks(wanted):
    """The selection as a list of chunks, each a dictionary of numbers."""
    if "select" in wanted:
        return [chunk for part in wanted["select"].split("+") for chunk in select_part(part)]
    if "nodes" in wanted:
        return [chunk for part in wanted["nodes"].split("+") for chunk in nodes_part(part)]
    ncpus = int(wanted.get("ncpus", 1))
    return [{"ncpus": ncpus, "mpiprocs": 1, "ngpus": int(wanted.get("ngpus", 0)), "mem_kb": size_of(wanted)}]


def size_of(wanted):
    return kilobytes(wanted["mem"]) if "mem" in wanted else 0


def select_part(part):
    count, *items = part.split(":")
    if not count.isdigit():
        count, items = "1", [count, *items]
    chunk = {"ncpus": 1, "mpiprocs": 1, "ngpus": 0, "mem_kb": 0}
    for item in items:
        name, _, value = item.partition("=")
        if name not in RESOURCES:
            raise Refused(187, f"qsub: Unknown resource: {name}")
        if name == "mem":
            chunk["mem_kb"] = kilobytes(value)
        elif value.isdigit():
            chunk[name] = int(value)
        else:
            chunk[name] = value
    return [dict(chunk) for _ in range(int(count))]


def nodes_part(part):
    count, *items = part.split(":")
    chunk = {"ncpus": 1, "mpiprocs": 1, "ngpus": 0, "mem_kb": 0}
    for item in items:
        name, _, value = item.partition("=")
        if name == "ppn":
            chunk["ncpus"] = chunk["mpiprocs"] = int(value)
        elif name == "gpus":
            chunk["ngpus"] = int(value)
    return [dict(chunk) for _ in range(int(count) if count.isdigit() else 1)]


def total(parts, name):
    return sum(part.get(name, 0) for part in parts)


def full_id(text):
    """`12` is `12.pbs1`; `3[]` and `3[2]` are parts of arrays."""
    return text if "." in text else f"{text}.{SERVER}"


def dependencies(text):
    """`afterok:1:2,afterany:3` as pairs of a kind and an id."""
    pairs = []
    for item in text.split(","):
        kind, *ids = item.split(":")
        pairs += [[kind, full_id(one.split("@")[0])] for one in ids]
    return pairs


def indices(text):
    """`1-4`, `1-9:2`, `1-4%2` as a list of indices and the number that may run at once."""
    match = re.fullmatch(r"(\d+)-(\d+)(?::(\d+))?(?:%(\d+))?", text)
    if not match:
        raise Refused(1, "qsub: illegal -J value")
    step = int(match[3] or 1)
    return list(range(int(match[1]), int(match[2]) + 1, step)), int(match[4] or 0)


def variables(text, environment):
    """`A=1,B` of option `-v`: given here, or taken from the environment."""
    found = {}
    for item in re.split(r",(?=[A-Za-z_][A-Za-z0-9_]*(?:=|,|$))", text):
        name, is_given, value = item.partition("=")
        if is_given:
            found[name] = value.strip("'\"")
        elif name in environment:
            found[name] = environment[name]
    return found


def job_of(options, script_name, environment):
    """A job from its options, those of the command line behind those of the script."""
    one = {}
    several = {"-l": [], "-v": [], "-W": []}
    for name, value in options:
        if name in several:
            several[name].append(value)
        else:
            one[name] = value
    queue = one.get("-q", QUEUE).split("@")[0]
    if queue not in ("", QUEUE):
        raise Refused(170, "qsub: Unknown queue")
    wanted = resources(several["-l"])
    array, at_once = indices(one["-J"]) if "-J" in one else (None, 0)
    given = dict(environment) if "-V" in one else {}
    for text in several["-v"]:
        given.update(variables(text, environment))
    depend = []
    for text in several["-W"]:
        if text.startswith("depend="):
            depend += dependencies(text[len("depend=") :])
    return {
        "name": one.get("-N", script_name)[:236],
        "queue": QUEUE,
        "account": one.get("-A", ""),
        "wanted": wanted,
        "chunks": chunks(wanted),
        "walltime_s": seconds(wanted["walltime"]) if "walltime" in wanted else 0,
        "output": one.get("-o", ""),
        "error": one.get("-e", ""),
        "join": one.get("-j", "n"),
        "hold": "-h" in one,
        "rerunable": one.get("-r", "y") != "n",
        "shell": one.get("-S", ""),
        "variables": given,
        "depend": depend,
        "array": array,
        "at_once": at_once,
    }
