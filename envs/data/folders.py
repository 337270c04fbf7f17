"""Samples in folders: hidden files and folders do not count, and no folder is read twice."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path


@dataclass
class Listing:
    """The contents of a folder, and what was left out."""

    found: list[Path] = field(default_factory=list)
    hidden: list[Path] = field(default_factory=list)
    """Files and folders of the same kind that notebooks, file managers and archives leave behind."""
    read_before: list[Path] = field(default_factory=list)
    """Links to folders that are read anyway or contain this folder."""


def folders_in(folder: Path) -> Listing:
    """The folders directly in ``folder``, sorted by name."""
    listing, ancestors = Listing(), _ancestors(folder)
    for child in sorted(folder.iterdir()):
        if not child.is_dir():
            continue
        if _is_hidden(child.name):
            listing.hidden.append(child)
        elif os.path.realpath(child) in ancestors:
            listing.read_before.append(child)
        else:
            listing.found.append(child)
    return listing


def files_below(folder: Path, endings: Sequence[str]) -> Listing:
    """Files with one of ``endings``, in any case, below ``folder``; links are followed.

    They are sorted by folder, then by name.
    """
    listing, places = Listing(), [folder]
    target = Path(os.path.realpath(folder))  # the folder may be a link itself
    read = _ancestors(folder.parent) | _ancestors(target.parent)
    for start in places:  # targets of links come last, after all real folders
        for name, folders, files in os.walk(start):
            place, real = Path(name), os.path.realpath(name)
            if real in read:
                listing.read_before.append(place)
                folders.clear()
                continue
            read.add(real)
            samples = [file for file in files if file.lower().endswith(tuple(endings))]
            listing.hidden += [place / child for child in sorted([*folders, *samples]) if _is_hidden(child)]
            listing.found += [place / file for file in samples if not _is_hidden(file)]
            folders[:] = sorted(child for child in folders if not _is_hidden(child))
            places += [place / child for child in folders if (place / child).is_symlink()]
    listing.found.sort(key=lambda file: (str(file.parent), file.name))
    return listing


def notes_on(listings: Iterable[Listing]) -> list[str]:
    """Notes on what was left out, if anything."""
    listings = list(listings)
    hidden = list(chain.from_iterable(listing.hidden for listing in listings))
    read_before = list(chain.from_iterable(listing.read_before for listing in listings))
    reasons = {"hidden": hidden, "folders that are read anyway": read_before}
    return [f"left out: {reason}: {some(map(str, paths))}" for reason, paths in reasons.items() if paths]


def some(names: Iterable[str]) -> str:
    """The first three of ``names``, and their number if there are more."""
    names = list(names)
    return ", ".join(names[:3]) + (f", … ({len(names)} in all)" if len(names) > 3 else "")


def _is_hidden(name: str) -> bool:
    return name.startswith(".")


def _ancestors(folder: Path) -> set[str]:
    """Real paths of ``folder`` and of all folders around it."""
    real = Path(os.path.realpath(folder))
    return {str(place) for place in (real, *real.parents)}
