"""What the command line asked for; one host per process, so one value for all modules."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

#: The release each shape imitates.
VERSIONS = {5: "0.3.64", 6: "0.33.0"}


@dataclass
class Options:
    """The host's settings."""

    #: Holds models, custom_nodes, input, output, temp and user.
    base_directory: Path = field(default_factory=Path)
    #: 5: as ComfyUI 0.3.64. 6: as ComfyUI 0.33.0.
    shape: int = 6
    #: What ``comfyui_version.__version__`` says.
    version: str = VERSIONS[6]
    #: Plugins loaded beside those in custom_nodes.
    plugins: tuple[Path, ...] = ()
    #: Seconds that one prompt takes at least when nothing of it is cached.
    delay: float = 0.0
    #: A static front end (for example the one in comfyui-frontend-package).
    front_end_root: Path | None = None

    @property
    def six(self) -> bool:
        """Whether queue items have the sixth element, and all that came with and after it."""
        return self.shape >= 6


options = Options()
