"""Agents as data: declared in Python, or in files of a folder, one extending another.

from executus.agents import load_catalogue

catalogue = load_catalogue(["agents"])
catalogue.agents["support"]
"""

from executus.agents.catalogue import Catalogue, Entry, load_agent, load_catalogue
from executus.agents.file import is_agent_file

__all__ = ["Catalogue", "Entry", "is_agent_file", "load_agent", "load_catalogue"]
