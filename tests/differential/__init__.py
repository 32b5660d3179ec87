"""Differential tests: small random programs that must do the same on asyncio and on pyasync.

A program is data (program.py). interpreter.py runs scheduling programs on any loop, connections.py
programs that talk over sockets; both write down everything that happens (trace.py). differ.py runs
a program on two loops and compares the traces; strategies.py tells hypothesis how to make programs
and to shrink those that differ. `python -m tests.differential` runs many of them.
"""
