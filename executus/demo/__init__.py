"""An agent worth watching: it answers questions about a folder of files, with or without a model.

The folder is the bundled sample, or the one that EXECUTUS_DEMO_FOLDER names.
"""

from executus.demo.agent import DEMO_QUESTION, folder_agent
from executus.demo.offline import OfflineProvider
from executus.demo.tools import demo_folder, folder_tools

__all__ = ["DEMO_QUESTION", "OfflineProvider", "demo_folder", "folder_agent", "folder_tools"]
