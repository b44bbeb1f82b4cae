"""Where task files and template folders are looked up: folders the user names, the current folder, then what is
shipped.

The first place that has a name wins; later ones are shadowed, which callers can mention.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.errors import UsageError


def shipped_root() -> Path:
    """The folder that holds the shipped ``tasks`` and ``prompts``: inside an installed package, or the source
    checkout."""
    package = Path(__file__).resolve().parent
    installed = package / "shipped"
    return installed if installed.is_dir() else package.parent


def builtin_folder() -> Path:
    """The folder with the built-in model and samples of data, which are parts of the package itself."""
    return Path(__file__).resolve().parent / "builtin"


@dataclass(frozen=True, slots=True)
class SearchPath:
    """Folders that may each hold ``tasks/`` and ``prompts/``, in order of precedence."""

    roots: tuple[Path, ...]

    @classmethod
    def default(cls, include: Sequence[Path] = ()) -> SearchPath:
        """``include`` first, then the current folder, then the shipped files.

        Raises:
            UsageError: a folder of ``include`` does not exist, or has neither ``tasks`` nor ``prompts``.
        """
        for folder in include:
            if not folder.is_dir():
                raise UsageError(f"--include-path {folder}: no such folder")
            if not (folder / "tasks").is_dir() and not (folder / "prompts").is_dir():
                raise UsageError(f"--include-path {folder}: has neither a tasks nor a prompts folder")
        ordered = dict.fromkeys(path.resolve() for path in [*include, Path.cwd(), shipped_root()])
        return cls(tuple(ordered))

    def files(self, folder: str, suffixes: Sequence[str]) -> tuple[dict[str, Path], dict[str, Path]]:
        """Files of ``<root>/<folder>`` that end in one of ``suffixes``, by stem: those found first, and the shadowed
        ones behind them. Within one folder, an earlier suffix comes first."""
        found: dict[str, Path] = {}
        shadowed: dict[str, Path] = {}
        for root in self.roots:
            paths = [path for path in _files(root / folder) if path.suffix in suffixes]
            for path in sorted(paths, key=lambda path: (suffixes.index(path.suffix), path.name)):
                (shadowed if path.stem in found else found).setdefault(path.stem, path)
        return found, shadowed

    def others(self, folder: str, name: str, suffixes: Sequence[str]) -> list[Path]:
        """Files that were meant to be found by this name, but end in none of ``suffixes``."""
        return [
            path
            for root in self.roots
            for path in _files(root / folder)
            if path.suffix not in suffixes and path.name.partition(".")[0] == name
        ]


def _files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return [path for path in sorted(folder.iterdir()) if not path.name.startswith(".") and path.is_file()]
