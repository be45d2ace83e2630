"""The command line: `executus`."""
