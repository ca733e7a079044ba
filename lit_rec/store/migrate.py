"""Brings a feedback database to the tables of this version, with several processes starting at once."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, text

from lit_rec.core.errors import FeedbackStoreError

VERSION_TABLE = "feedback_schema_version"

_SCRIPTS = Path(__file__).parent / "migrations"


def migrate(engine: Engine) -> None:
    """Migrate to the newest tables, in one transaction; a process that finds another at it waits.

    Args:
        engine: of the database; its transactions on SQLite must begin as writers.

    Raises:
        FeedbackStoreError: the database was written by a newer version.
    """
    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    scripts = ScriptDirectory.from_config(config)
    head = scripts.get_current_head()
    with engine.connect().execution_options(reads_only=True) as connection:
        if _revision(connection) == head:
            return
    with engine.begin() as connection:  # on SQLite this holds the one write lock
        if connection.dialect.name == "postgresql":
            connection.execute(text("SET LOCAL statement_timeout = 0"))  # an old and large one takes its time
            lock = "SELECT pg_advisory_xact_lock(hashtextextended('lit_rec.feedback.' || current_schema(), 0))"
            connection.execute(text(lock))
        if (revision := _revision(connection)) == head:
            return
        if revision is not None and revision not in {script.revision for script in scripts.walk_revisions()}:
            raise FeedbackStoreError(
                "The feedback database is of a newer lit_rec",
                f"its tables are at revision {revision}, this version knows up to {head}",
                "Install that version, or name another FEEDBACK_DB_PATH",
            )
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def _revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE}).get_current_revision()
