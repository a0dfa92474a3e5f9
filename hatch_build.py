"""The description of the package on a registry: the README, with links that work anywhere."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface


def with_absolute_links(markdown: str, repository: str) -> str:
    """Point relative links at the repository, and relative pictures at the files themselves."""
    markdown = re.sub(r"(!\[[^\]]*\])\((?!\w+:)([^)]+)\)", rf"\1({repository}/raw/main/\2)", markdown)
    return re.sub(r"(?<!!)(\[[^\]]*\])\((?!\w+:)([^)#][^)]*)\)", rf"\1({repository}/blob/main/\2)", markdown)


class CustomMetadataHook(MetadataHookInterface):
    """Hatchling's hook for the field `readme`, which pyproject.toml declares as dynamic."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Set the description from README.md."""
        readme = Path(self.root, "README.md").read_text(encoding="utf-8")
        text = with_absolute_links(readme, metadata["urls"]["Repository"])
        metadata["readme"] = {"content-type": "text/markdown", "text": text}
