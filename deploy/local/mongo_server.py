"""The SecantusDB server, which reads a collection's list of indexes once for each transaction.

By itself it reads that list from its store several times for every document that is written, which is most of what an
upsert costs it. deploy.local.servers starts this file as a script, with the arguments of secantusd-py.
"""

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from secantus import cli, server, storage

Index = tuple[str, dict[str, Any], dict[str, Any]]


class Storage(storage.Storage):
    """A transaction sees one state of the list, unless it changes that itself."""

    @contextmanager
    def _batch_transaction(self, *, sync: bool = False) -> Iterator[Any]:
        with super()._batch_transaction(sync=sync) as session:
            self._tls.indexes = {}
            try:
                yield session
            finally:
                self._tls.indexes = None

    def _iter_indexes(self, db: str, coll: str) -> Iterable[Index]:
        known: dict[tuple[str, str], list[Index]] | None = getattr(self._tls, "indexes", None)
        if known and (db, coll) in known:
            return known[db, coll]
        found = list(super()._iter_indexes(db, coll))
        if known is not None:
            self._tls.indexes = {**known, (db, coll): found}
        return found

    def _cursor(self, table: str, *, overwrite: bool = True) -> Any:
        """Whoever wants a cursor on the list may change it."""
        if table == storage._IDX_TABLE and getattr(self._tls, "indexes", None):
            self._tls.indexes = {}
        return super()._cursor(table, overwrite=overwrite)


if __name__ == "__main__":
    server.Storage = Storage
    sys.exit(cli.main())
