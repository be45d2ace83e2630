"""Skill packs: instructions by others, subscribed to, pinned by content, loaded on demand.

from executus.packs import load_packs

plugin = ExecutusPlugin(packs=load_packs(Path("executus.packs.json"), Path(".executus/packs")))
"""

from executus.packs.loaded import Packs, UnknownPack, load_packs
from executus.packs.pack import Pack
from executus.packs.subscriptions import Subscriptions

__all__ = ["Pack", "Packs", "Subscriptions", "UnknownPack", "load_packs"]
