"""The config of a stream of experiences: a data set, its split into experiences, and the question to answer."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np

from snn4.envs.data.datasets import DataConfig, count_classes
from snn4.envs.shifts import ShiftName

Scenario = Literal["class", "task", "domain"]

SCENARIOS = {
    "class": "new classes in each experience, one head for all, no task labels: which class is it?",
    "task": "new classes in each experience, task labels say which: which of these classes is it?",
    "domain": "the same labels in each experience, for other classes or shifted images, no task labels",
}
"""After van de Ven & Tolias (2019)."""

MOST_EXPERIENCES = 10_000


@dataclass(frozen=True)
class StreamConfig:
    """A data set as a sequence of experiences."""

    data: DataConfig = field(default_factory=DataConfig)
    """The data set. Its training, validation and test parts become three streams with the same experiences."""
    scenario: Scenario = "class"
    """New classes in each experience, with one head for all (class) or with task labels (task); or the same labels in
    each, for other classes or shifted images (domain). After van de Ven & Tolias (2019)."""
    experiences: int = 5
    """Number of experiences. Without ``classes``, the classes are divided into that many equal groups."""
    shift: ShiftName = "none"
    """Scenario domain only: each experience has all classes, and its own arrangement of pixels. The first is unchanged;
    permute draws a permutation of pixels for each other one (Goodfellow et al. 2013), and rotate turns experience i of
    n by 180° i / n (after Lopez-Paz & Ranzato 2017)."""
    classes: tuple[tuple[int, ...], ...] | None = None
    """Classes of each experience, by number from 0. Groups may differ in size; classes in no group are not in the
    stream. None: all classes in order."""
    class_seed: int | None = None
    """Seed that shuffles the classes before they are divided, with NumPy's RandomState (1993 is the usual order of
    Split-CIFAR-100, Rebuffi et al. 2017). None keeps their order. The seed of a run does not change it."""
    shift_seed: int = 0
    """Seed of the permutations."""

    def __post_init__(self) -> None:
        for name, choices in (("scenario", Scenario), ("shift", ShiftName)):
            if getattr(self, name) not in get_args(choices):
                raise ValueError(f"{name}: got {getattr(self, name)!r}, allowed are {', '.join(get_args(choices))}")
        if not 1 <= self.experiences <= MOST_EXPERIENCES:
            allowed = f"a whole number >= 1 and <= {MOST_EXPERIENCES:,}"
            raise ValueError(f"experiences: got {self.experiences}, allowed is {allowed}")
        for name in ("class_seed", "shift_seed"):
            seed = getattr(self, name)
            if seed is not None and not 0 <= seed < 2**32:
                raise ValueError(f"{name}: got {seed}, allowed is 0 to {2**32 - 1}")
        if self.data.alternate_flips:
            raise ValueError(
                "data.alternate_flips: got true, allowed is false: a stream and its memory have no common epochs"
            )
        self._check_shift()
        self._check_groups()
        if self.data.name != "imagefolder":  # its files may be on another machine: `make_stream` counts its classes
            self.groups(count_classes(self.data))

    def _check_shift(self) -> None:
        if self.shift == "none":
            return
        if self.scenario != "domain":
            raise ValueError(f"shift: {self.shift} is not allowed with scenario: {self.scenario}; set scenario: domain")
        for name in ("classes", "class_seed"):
            if getattr(self, name) is not None:
                raise ValueError(
                    f"{name}: not allowed with shift: {self.shift}, which has all classes in each experience; set "
                    f"{name}: null"
                )
        if self.shift == "permute" and self.data.augmentation != "none":
            raise ValueError(
                f"data.augmentation: {self.data.augmentation} is not allowed with shift: permute, where pixels have no "
                "neighbours; set data.augmentation: none"
            )

    def _check_groups(self) -> None:
        if self.classes is None:
            return
        if not self.classes:
            raise ValueError("classes: got no group, allowed are one or more, each a list of class numbers")
        if self.class_seed is not None:
            raise ValueError("class_seed: not allowed with classes, which already have an order; set class_seed: null")
        _check_overlap(self.classes)
        if len(self.classes) != self.experiences:
            raise ValueError(
                f"experiences: got {self.experiences}, allowed is {len(self.classes)}, the number of groups in classes"
            )

    def groups(self, n_classes: int) -> list[list[int]]:
        """Classes of each experience of a data set with ``n_classes``.

        Raises:
            ValueError: for unknown classes, and for groups too small to classify.
        """
        if self.shift != "none":
            return [list(range(n_classes))] * self.experiences
        groups = self._equal_groups(n_classes) if self.classes is None else [list(group) for group in self.classes]
        unknown = sorted({class_ for group in groups for class_ in group} - set(range(n_classes)))
        if unknown:
            raise ValueError(
                f"classes: got {unknown[0]}, allowed are 0 to {n_classes - 1}, the classes of {self.data.name}"
            )
        least = 1 if self.scenario == "class" else 2
        small = [group for group in groups if len(group) < least]
        if small:
            key = "experiences" if self.classes is None else "classes"
            reason = "" if least == 1 else ", since one class leaves nothing to classify"
            raise ValueError(
                f"{key}: got an experience with {len(small[0])} classes, allowed with scenario: {self.scenario} are "
                f"{least} or more{reason}"
            )
        return groups

    def _equal_groups(self, n_classes: int) -> list[list[int]]:
        n = self.experiences
        if n > n_classes:
            raise ValueError(f"experiences: got {n}, allowed is 1 to {n_classes}, the classes of {self.data.name}")
        if n_classes % n:
            allowed = ", ".join(str(k) for k in range(1, n_classes + 1) if n_classes % k == 0)
            raise ValueError(
                f"experiences: got {n}, allowed are {allowed} for equal groups of {n_classes} classes; list unequal "
                "groups in classes"
            )
        order = np.arange(n_classes)
        if self.class_seed is not None:
            order = np.random.RandomState(self.class_seed).permutation(n_classes)
        return [group.tolist() for group in order.reshape(n, -1)]


def _check_overlap(classes: tuple[tuple[int, ...], ...]) -> None:
    earlier: set[int] = set()
    for group in classes:
        repeated = sorted(earlier.intersection(group)) or sorted({label for label in group if group.count(label) > 1})
        if repeated:
            raise ValueError(f"classes: got class {repeated[0]} twice, allowed is each class in one experience only")
        earlier.update(group)
