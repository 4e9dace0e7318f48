"""Measures Havre beside whatever of dockerd, podman and runc is on the machine: alternating, in one run, as ratios.

`python -m bench [--quick] [--only NAME] [--json FILE]` as root. Never a timed test: the machine decides the milliseconds, the
ratio is what counts.
"""
