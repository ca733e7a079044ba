"""The SQL database: tables, migrations, and what is written and read.

May import core.
"""
