"""The tables of an SQLite store, and the migrations to them."""

import sqlite3
import uuid
from pathlib import Path

from refresher.errors import ServiceError
from refresher.store.backends.sqlite.transaction import transaction

_APPLICATION = 0x72667273
_MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        "CREATE TABLE meta (id TEXT NOT NULL)",
        # Nothing deletes documents, so the highest number there is the last one issued.
        """CREATE TABLE documents (
            number INTEGER PRIMARY KEY,
            key TEXT NOT NULL UNIQUE,
            published INTEGER NOT NULL,
            document BLOB NOT NULL
        )""",
        # The content last: what comes before it is read without following its pages.
        """CREATE TABLE bodies (
            name TEXT NOT NULL PRIMARY KEY,
            size INTEGER NOT NULL,
            pieces INTEGER,
            content BLOB
        )""",
        """CREATE TABLE pieces (
            pieces INTEGER NOT NULL,
            piece INTEGER NOT NULL,
            content BLOB NOT NULL,
            PRIMARY KEY (pieces, piece)
        )""",
        # Pieces of no body: the holder is writing them, or, without one, their body was dropped.
        """CREATE TABLE loose (
            pieces INTEGER PRIMARY KEY,
            holder TEXT,
            since REAL NOT NULL
        )""",
        """CREATE TRIGGER dropped AFTER DELETE ON bodies WHEN old.pieces IS NOT NULL BEGIN
            INSERT INTO loose (pieces, holder, since) VALUES (old.pieces, NULL, 0);
        END""",
        """CREATE TABLE processes (
            process TEXT NOT NULL PRIMARY KEY,
            holder TEXT NOT NULL,
            beat REAL NOT NULL
        )""",
    ),
)
"""The statements that migrate from each version of the schema to the next; released ones stay."""


def migrate(connection: sqlite3.Connection, path: Path) -> None:
    """Make the tables, or migrate those of an older release; one process at a time.

    Raises:
        ServiceError: it is of another program, or of a newer release.
        sqlite3.Error: it cannot be read or written.
    """
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if tables and application != _APPLICATION:
        raise ServiceError(
            f"store: {path} is a database of another program; give store.url a file of its own"
        )
    connection.execute("PRAGMA journal_mode = WAL")
    with transaction(connection):
        version: int = connection.execute("PRAGMA user_version").fetchone()[0]
        if version > len(_MIGRATIONS):
            raise ServiceError(
                f"store: {path} was written by a newer release of refresher (its schema is "
                f"{version}, this release knows {len(_MIGRATIONS)}); upgrade this one, or give "
                "store.url another file"
            )
        if version == len(_MIGRATIONS):
            return
        for statement in (each for steps in _MIGRATIONS[version:] for each in steps):
            connection.execute(statement)
        if not version:
            connection.execute(f"PRAGMA application_id = {_APPLICATION}")
            connection.execute("INSERT INTO meta (id) VALUES (?)", (uuid.uuid4().hex,))
        connection.execute(f"PRAGMA user_version = {len(_MIGRATIONS)}")
