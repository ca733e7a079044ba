"""What Alembic runs: the connection and its transaction are those of :mod:`lit_rec.feedback.migrate`."""

from alembic import context

from lit_rec.feedback.migrate import VERSION_TABLE
from lit_rec.feedback.tables import metadata

context.configure(
    connection=context.config.attributes["connection"], target_metadata=metadata, version_table=VERSION_TABLE
)
context.run_migrations()
