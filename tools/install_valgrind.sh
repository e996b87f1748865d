#!/bin/sh
# Make sure that valgrind is on this machine, which counts instructions for benchmarks/gate.py.
exec "$(dirname "$0")/install.sh" valgrind valgrind
