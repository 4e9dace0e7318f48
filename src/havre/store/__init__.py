"""Records: what Havre knows, in one SQLite file under the data root.

In: a kind, an id, a JSON document as bytes. Out: the same bytes, also after kill -9. A record is written before its side effect,
so that a restart can finish or undo it. Never: a blob, a layer, a log line, or anything about what a document means.
"""

from havre.store.lock import lock_data_root, lock_directory
from havre.store.records import Damaged, Records

__all__ = ["Damaged", "Records", "lock_data_root", "lock_directory"]
