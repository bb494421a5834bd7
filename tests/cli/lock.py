#!/usr/bin/env python3
"""Holds a lock of an open file description on all of FILE until it is killed; fcntl(2).

usage: lock.py FILE read|write; prints one line when it has the lock.
"""
import fcntl
import os
import signal
import struct
import sys

F_OFD_SETLK = 37
path, how = sys.argv[1:]
fd = os.open(path, os.O_RDWR)
kind = fcntl.F_RDLCK if how == "read" else fcntl.F_WRLCK
fcntl.fcntl(fd, F_OFD_SETLK, struct.pack("hhqqi4x", kind, os.SEEK_SET, 0, 0, 0))
print("locked", flush=True)
signal.pause()
