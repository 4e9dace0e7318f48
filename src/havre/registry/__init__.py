"""The registry client: distribution-spec 1.1 over our own small HTTP client.

In: references and credentials. Out: manifests as bytes, blobs as chunks. Never: a file, an image record, a log line with a secret.
"""
