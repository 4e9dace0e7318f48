"""The Engine API: one file per resource, one async handler per route. Decode once, call one engine function, answer.

In: http Requests. Out: Engine API replies of v1.24 to the newest. Errors become replies only here. Never: a decision.
"""
