"""Side-by-side measurements of havred and whatever peers this machine has: `python -m bench --help`.

Each peer lives in its own network namespace with its data on tmpfs; peers take turns, call by call, in one run.
Never: a fixed limit that fails a build. It prints medians and ratios, people judge them.
"""
