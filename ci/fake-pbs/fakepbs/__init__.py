"""A stand-in for OpenPBS; see ../README.md."""

SERVER = "pbs1"
VERSION = "23.06.06"
QUEUE = "workq"
