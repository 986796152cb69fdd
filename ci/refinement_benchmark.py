"""What benchmarks of refinement have in common: jobs run to their end, their CPU time, poses against true ones."""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np


def run(*command, cwd=None):
    """Runs a program with its output on stderr; returns its CPU seconds, children included."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([str(word) for word in command], cwd=cwd, stdout=sys.stderr, env=environment())
    if done.returncode != 0:
        sys.exit(f"error: `{' '.join(map(str, command))}` ended with {done.returncode}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def environment():
    folder = str(Path(os.environ["VITREOUS"]).parent)
    root = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    return {**os.environ, **root, "PATH": f"{folder}:{os.environ['PATH']}"}


def vitreous(project, *arguments):
    """Runs a job to its end and returns its folder."""
    run(os.environ["VITREOUS"], "run", *arguments, "--wait", cwd=project)
    return max(project.glob(f"J*-{arguments[0]}"))


def volume(folder):
    outputs = json.loads((folder / "outputs.json").read_text())["outputs"]
    return folder / next(output["path"] for output in outputs if output["slot"] == "volume")


def used(folder):
    """CPU seconds and peak MiB of a job."""
    records = [json.loads(file.read_text()) for file in folder.glob("attempt-*/usage-*.json")]
    return sum(record["cpu_seconds"] for record in records), max(record["max_rss_mib"] for record in records)


def truth_fsc05(map_file, truth, *mask):
    """Resolution at FSC 0.5 with the truth, Å, within `--mask-diameter N` or `--mask FILE`."""
    answer = subprocess.run([os.environ["VITREOUS_ENGINE"], "compare-maps", "--aligned", *map(str, mask), map_file, truth],
                            capture_output=True, text=True, check=True).stdout
    return round(json.loads(answer)["resolution_fsc05_A"], 3)


def star_columns(path, block, columns):
    """Named columns of one loop of a STAR file as lists of text."""
    lines = iter(Path(path).read_text().splitlines())
    for line in lines:
        if line.strip() == f"data_{block}":
            break
    names, rows = [], []
    for line in lines:
        words = line.split()
        if line.startswith("_"):
            names.append(words[0][1:])
        elif words and names:
            rows.append(words)
        elif rows and not words:
            break
    return [[row[names.index(column)] for row in rows] for column in columns]


def matrices(angles):
    """RELION's rotation matrices, `[n, 3, 3]`, of `[n, 3]` rot, tilt and psi in degrees."""
    (ca, cb, cc), (sa, sb, sc) = np.cos(np.radians(angles)).T, np.sin(np.radians(angles)).T
    rows = [[cc * cb * ca - sc * sa, cc * cb * sa + sc * ca, -cc * sb],
            [-sc * cb * ca - cc * sa, -sc * cb * sa + cc * ca, sc * sb],
            [sb * ca, sb * sa, cb]]
    return np.moveaxis(np.array(rows), 2, 0)


def turn(axis, degrees):
    """The matrix of a rotation about an axis."""
    x, y, z = np.array(axis) / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = np.radians(degrees)
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def group(name):
    """All rotations of a point group."""
    generators = {"C1": [], "D7": [turn([0, 0, 1], 360 / 7), turn([1, 0, 0], 180)],
                  "O": [turn([0, 0, 1], 90), turn([1, 1, 1], 120)]}[name]
    found = [np.eye(3)]
    for known in found:
        for generator in generators:
            candidate = known @ generator
            if all(np.abs(candidate - other).max() > 1e-6 for other in found):
                found.append(candidate)
    return np.array(found)


def common_rotation(found, truth, symmetry):
    """Angles between poses, degrees, up to the group and one common rotation, and that rotation: it takes the map's points to
    those of the truth."""
    names = [name for name in truth if name in found]
    a = matrices(np.array([found[name] for name in names], float))
    b = matrices(np.array([truth[name] for name in names], float))
    operators = group(symmetry)
    common = np.eye(3)
    for _ in range(4):
        # b's equivalent nearest to a, then the rotation of the map that brings those onto a
        candidates = np.einsum("nij,gjk,kl->gnil", b, operators, common)
        traces = np.einsum("nij,gnij->gn", a, candidates)
        best = candidates[traces.argmax(0), np.arange(len(names))]
        angles = np.degrees(np.arccos(np.clip((traces.max(0) - 1) / 2, -1, 1)))
        near = angles < 10
        u, _, v = np.linalg.svd(np.einsum("nij,nik->jk", best[near], a[near]))
        common = common @ (u @ np.diag([1, 1, np.linalg.det(u @ v)]) @ v)
    return angles, common


def pose_errors(found, truth, symmetry):
    """Median and 95 % quantile of the angles between poses, degrees, up to the group and one common rotation."""
    angles, _ = common_rotation(found, truth, symmetry)
    return {"median_deg": round(float(np.median(angles)), 3), "p95_deg": round(float(np.quantile(angles, 0.95)), 3)}


def sheared(volume, axis, along, factor):
    """The volume with each line along one axis moved by `factor` times its place along the other, by its transform."""
    n = volume.shape[0]
    shape = [1, 1, 1]
    shape[axis] = n
    frequency = np.fft.fftfreq(n).reshape(shape)
    shape = [1, 1, 1]
    shape[along] = n
    moved = factor * (np.arange(n) - n // 2).reshape(shape)
    return np.fft.ifft(np.fft.fft(volume, axis=axis) * np.exp(-2j * np.pi * frequency * moved), axis=axis).real


def turned_in_plane(volume, first, second, angle):
    """The volume turned by a small angle from one axis towards the other, by three shears."""
    volume = sheared(volume, first, second, -np.tan(angle / 2))
    volume = sheared(volume, second, first, np.sin(angle))
    return sheared(volume, first, second, -np.tan(angle / 2))


def on_truth(volume, truth, mask, common):
    """A map whose points x stand at `common x` in the truth, for small turns, brought there; the shift that is left is found by
    correlation within the mask."""
    # common = Rz(c) Ry(b) Rx(a); arrays are [z, y, x]
    a = np.arctan2(common[2, 1], common[2, 2])
    b = -np.arcsin(common[2, 0])
    c = np.arctan2(common[1, 0], common[0, 0])
    for first, second, angle in ((1, 0, a), (0, 2, b), (2, 1, c)):
        volume = turned_in_plane(volume, first, second, angle)
    n = volume.shape[0]
    axes = [np.fft.fftfreq(n), np.fft.fftfreq(n), np.fft.rfftfreq(n)]
    z, y, x = np.meshgrid(*axes, indexing="ij")
    low = np.exp(-(z * z + y * y + x * x) * 60)
    transform = np.fft.rfftn(volume)
    total = np.zeros(3)
    for _ in range(6):
        moved = np.fft.irfftn(transform * np.exp(-2j * np.pi * (z * total[0] + y * total[1] + x * total[2])), s=volume.shape)
        spectrum = np.fft.rfftn(truth * mask) * np.conj(np.fft.rfftn(moved * mask)) * low
        scores = np.fft.irfftn(spectrum, s=volume.shape)
        step = []
        for axis in range(3):
            before, here, after = (np.roll(scores, shift, axis)[0, 0, 0] for shift in (1, 0, -1))
            step.append(0.5 * (before - after) / (before - 2 * here + after))
        total += np.clip(step, -1, 1)
    return np.fft.irfftn(transform * np.exp(-2j * np.pi * (z * total[0] + y * total[1] + x * total[2])), s=volume.shape)


def poses(star):
    names, *angles = star_columns(star, "particles", ["rlnImageName", "rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi"])
    # the stack's file name and the number in it; RELION pads numbers with zeros
    key = [(int(name.split("@")[0]), Path(name.split("@")[1]).name) for name in names]
    return dict(zip(key, zip(*angles)))


def exported(project, source):
    return next(vitreous(project, "export-relion", "--particles", source).rglob("particles.star"))
