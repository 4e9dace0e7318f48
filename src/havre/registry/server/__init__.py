"""The registry server (the `registry` role): distribution-spec 1.1 over a folder laid out as docker-registry's.

In: HTTP requests and a config.yml. Out: blobs, manifests, tags, referrers. Never: an image's meaning beyond what a manifest refers to, a
container, another room's state. Handlers (`blobs`, `uploads`, `manifests`, `lists`) decide; `storage` and `repository` do, blocking.
"""
