"""Where records and money are kept: in memory, SQLite, PostgreSQL. Used by activities only."""
