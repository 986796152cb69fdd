# shellcheck shell=bash
# Sourced by `up` and `down` of every cluster: its arguments, free ports, daemons ended by pid file.
#
# What stands here holds for every cluster:
# - everything lives in one folder, `--dir DIR` (made by mktemp when not given), which any user may enter;
# - `up` prints `export NAME=value` lines for its clients, all else goes to standard error;
# - `up` prints `skipped: why` and exits with 77 where the cluster cannot be started;
# - `down` ends what `up` started, known by its pid files, and waits for it. It leaves the folder, with the logs.

SKIPPED=77

# Says why there is no such cluster here, and ends.
skip() {
    echo "skipped: $*"
    exit "$SKIPPED"
}

die() {
    echo "error: $*" >&2
    exit 1
}

# Reads `--dir DIR`, `--controller`, `--node NAME` into dir, part (all, controller, node) and node; anything else must
# be one of the options that the caller names in `known` and is put into the variable of its name (`--min-job-age 9`:
# min_job_age=9; a known option ending in `!` takes no value and becomes 1).
parse_arguments() {
    dir='' part=all node=''
    while [ $# -gt 0 ]; do
        case $1 in
            --dir) dir=${2:?--dir needs a folder}; shift ;;
            --controller) part=controller ;;
            --node) part=node node=${2:?--node needs a name}; shift ;;
            -h | --help) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"; exit 0 ;;
            --*) parse_option "$@" || shift ;;
            *) die "unknown argument \`$1\`" ;;
        esac
        shift
    done
}

# One of the caller's options; fails when it took a value.
parse_option() {
    local name=${1#--} option
    for option in ${known:-}; do
        case $option in
            "$name!") printf -v "${name//-/_}" 1; return 0 ;;
            "$name") printf -v "${name//-/_}" %s "${2:?$1 needs a value}"; return 1 ;;
        esac
    done
    die "unknown option \`$1\` (known: --dir --controller --node${known:+ ${known//!/}})"
}

# Makes or takes the folder; $1 is what its name begins with.
make_dir() {
    [ -n "$dir" ] || dir=$(mktemp -d "${TMPDIR:-/tmp}/vitreous-$1-XXXXXX")
    mkdir -p "$dir/log"
    dir=$(cd "$dir" && pwd -P)
    chmod 755 "$dir" "$dir/log"
    [ "$(id -u)" != 0 ] || setpriv --reuid nobody --regid nogroup --clear-groups test -x "$dir/log" ||
        die "$dir cannot be entered by other users: chmod a+x the folders above it"
}

# The folder must be one that `up` has made.
need_dir() {
    [ -n "$dir" ] || die "which cluster? Give its folder with --dir"
    [ -d "$dir/log" ] || die "$dir is no folder of a cluster"
    dir=$(cd "$dir" && pwd -P)
}

need_root() {
    [ "$(id -u)" = 0 ] || skip "$1 has to be started by root"
}

# need_programs PROGRAM …: installs the clusters' packages when one is missing.
need_programs() {
    local program missing=''
    for program in "$@"; do command -v "$program" > /dev/null || missing+=" $program"; done
    [ -n "$missing" ] || return 0
    "$(dirname "${BASH_SOURCE[0]}")/../install-packages" --clusters >&2 || skip "not installed:$missing"
    for program in "$@"; do command -v "$program" > /dev/null || skip "no program $program"; done
}

# N ports that nobody listens on, below the range that the kernel gives to outgoing connections.
free_ports() {
    python3 - "$1" <<'PYTHON'
import random, socket, sys
found = []
while len(found) < int(sys.argv[1]):
    port = random.randrange(20000, 32000)
    with socket.socket() as probe:
        try:
            probe.bind(("", port))
        except OSError:
            continue
    if port not in found:
        found.append(port)
print(*found)
PYTHON
}

# Whether the process of a pid file lives.
is_alive() {
    [ -s "$1" ] && kill -0 "$(cat "$1")" 2> /dev/null
}

# wait_until SECONDS COMMAND …: asks ten times a second; fails when it never came true.
wait_until() {
    local tries=$(($1 * 10))
    shift
    while [ $tries -gt 0 ]; do
        "$@" > /dev/null 2>&1 && return 0
        tries=$((tries - 1))
        sleep 0.1
    done
    return 1
}

# stop SIGNAL PIDFILE …: sends it, waits, kills what has not gone after 15 s.
stop() {
    local signal=$1 file pid
    shift
    for file in "$@"; do
        [ -s "$file" ] || continue
        pid=$(cat "$file")
        kill -s "$signal" "$pid" 2> /dev/null || true
        if ! wait_until 15 is_gone "$pid"; then
            echo "warning: process $pid of $file had to be killed" >&2
            kill -s KILL "$pid" 2> /dev/null || true
            wait_until 5 is_gone "$pid" || true
        fi
        rm -f "$file"
    done
}

# as USER COMMAND …: runs it as that user where we are root, else as ourselves.
as() {
    local user=$1
    shift
    if [ "$(id -u)" = 0 ]; then
        setpriv --reuid "$user" --regid "$(id -g "$user")" --init-groups "$@"
    else
        "$@"
    fi
}

# A process that has ended and that nobody has waited for is gone, too.
is_gone() {
    ! grep -qs '^State:[[:space:]]*[^ZX]' "/proc/$1/status"
}

# The normal user that tests run as; $1 is its name. An account is made without a password but not locked: sshd lets
# nobody into a locked one, key or not.
need_user() {
    id "$1" > /dev/null 2>&1 || useradd --create-home --shell /bin/bash --password '*' "$1" || skip "no user $1"
}
