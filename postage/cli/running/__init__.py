"""Running components as a program: what the target names, the process, its workers, its probes."""
