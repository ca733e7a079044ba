"""What Alembic runs: the connection and its transaction are those of :mod:`lit_rec.store.migrate`."""

from alembic import context

from lit_rec.store.migrate import VERSION_TABLE
from lit_rec.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"], target_metadata=metadata, version_table=VERSION_TABLE
)
context.run_migrations()
