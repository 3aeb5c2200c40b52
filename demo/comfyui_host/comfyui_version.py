"""``comfyui_version``: plugins read ``__version__``."""

from .options import VERSIONS

__version__ = VERSIONS[6]
