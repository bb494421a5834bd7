#!/usr/bin/env python3
"""Listens on a free TCP port of the loopback address until it is killed; prints the port."""
import signal
import socket

listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
signal.pause()
