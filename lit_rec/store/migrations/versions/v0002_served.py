"""What was served, so that events can be joined to it."""

import sqlalchemy as sa
from alembic import op

from lit_rec.store.tables import UtcDateTime

revision = "0002"
down_revision: str | None = "0001"


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "served_lists",
        sa.Column("request_id", sa.Text, primary_key=True),
        sa.Column("user_id", sa.Text),
        sa.Column("user_context_hash", sa.Text),
        sa.Column("context", sa.Text),
        sa.Column("history", sa.JSON(none_as_null=True)),
        sa.Column("model_version", sa.Text, nullable=False),
        sa.Column("arm", sa.Text),
        sa.Column("latency_ms", sa.Float),
        sa.Column("served_at", UtcDateTime, nullable=False),
    )
    op.create_index("ix_served_lists_served_at", "served_lists", ["served_at"])
    served = sa.ForeignKey("served_lists.request_id", ondelete="CASCADE")
    op.create_table(
        "served_products",
        sa.Column("request_id", sa.Text, served, primary_key=True),
        sa.Column("rank", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("product_id", sa.Text, nullable=False),
        sa.Column("score", sa.Float, nullable=False),
    )


def downgrade() -> None:
    """Remove the tables."""
    op.drop_table("served_products")
    op.drop_table("served_lists")
