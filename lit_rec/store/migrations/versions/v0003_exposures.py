"""What was served under the field's word: exposures. Every row stays where it is."""

from alembic import op

revision = "0003"
down_revision: str | None = "0002"


def upgrade() -> None:
    """Rename the tables and their index."""
    op.rename_table("served_products", "exposed_products")
    _rename_with_index("served_lists", "exposures")


def downgrade() -> None:
    """Give the former names back."""
    op.rename_table("exposed_products", "served_products")
    _rename_with_index("exposures", "served_lists")


def _rename_with_index(table: str, new: str) -> None:
    op.rename_table(table, new)
    if op.get_bind().dialect.name == "postgresql":
        op.execute(f"ALTER INDEX ix_{table}_served_at RENAME TO ix_{new}_served_at")
    else:  # SQLite cannot rename an index
        op.drop_index(f"ix_{table}_served_at", new)
        op.create_index(f"ix_{new}_served_at", new, ["served_at"])
