"""What a stream of experiences is made of: a data set, how it is parted, and what is asked."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np

from snn4.envs.data.datasets import DataConfig, count_classes
from snn4.envs.shifts import ShiftName

Scenario = Literal["class", "task", "domain"]

SCENARIOS = {
    "class": "new classes in each experience, one head for all, no task labels: which class is it?",
    "task": "new classes in each experience, told by its task label which they are: which of these is it?",
    "domain": "the same labels in each experience, on other classes or on shifted images, no task labels",
}
"""After van de Ven & Tolias (2019)."""

MOST_EXPERIENCES = 10_000


@dataclass(frozen=True)
class StreamConfig:
    """A data set as a stream of experiences that a network meets one after another."""

    data: DataConfig = field(default_factory=DataConfig)
    """The data set; its training, validation and test parts become three streams with the same experiences."""
    scenario: Scenario = "class"
    """One of `SCENARIOS`."""
    experiences: int = 5
    """How many there are. Without ``classes`` the classes are shared out in so many equal groups."""
    shift: ShiftName = "none"
    """One of `SHIFTS`: domain only, all classes in each experience, whose pixels are elsewhere."""
    classes: tuple[tuple[int, ...], ...] | None = None
    """Classes of each experience, by their number from 0. They may be of different size, and leave classes out, which
    are then not in the stream at all; None are all classes in their order."""
    class_seed: int | None = None
    """Shuffles the classes before they are shared out, with NumPy's RandomState (1993 is the usual order of
    Split-CIFAR-100, Rebuffi et al. 2017); None leaves them in their order. A run's own seed does not change it."""
    shift_seed: int = 0
    """Of the permutations."""

    def __post_init__(self) -> None:
        for name, allowed in (("scenario", Scenario), ("shift", ShiftName)):
            if getattr(self, name) not in get_args(allowed):
                raise ValueError(f"{name}: got {getattr(self, name)!r}, allowed are {', '.join(get_args(allowed))}")
        if not 1 <= self.experiences <= MOST_EXPERIENCES:
            wanted = f"a whole number >= 1 and <= {MOST_EXPERIENCES:,}"
            raise ValueError(f"experiences: got {self.experiences}, allowed is {wanted}")
        for name in ("class_seed", "shift_seed"):
            seed = getattr(self, name)
            if seed is not None and not 0 <= seed < 2**32:
                raise ValueError(f"{name}: got {seed}, allowed is 0 to {2**32 - 1}")
        if self.data.alternate_flips:
            raise ValueError(
                "data.alternate_flips: got true, allowed is false: streams and memories have no common epochs"
            )
        self._check_shift()
        self._check_groups()
        if self.data.name != "imagefolder":  # whose files may be elsewhere: `make_stream` looks at them
            self.groups(count_classes(self.data))

    def _check_shift(self) -> None:
        if self.shift == "none":
            return
        if self.scenario != "domain":
            raise ValueError(f"shift: got {self.shift} with scenario {self.scenario}, allowed is none; or take domain")
        for name in ("classes", "class_seed"):
            if getattr(self, name) is not None:
                raise ValueError(f"{name}: got {getattr(self, name)} with shift {self.shift}, allowed is null: "
                                 "each experience has all classes")  # fmt: skip
        if self.shift == "permute" and self.data.augmentation != "none":
            raise ValueError(
                f"data.augmentation: got {self.data.augmentation} with shift permute, allowed is none: permuted pixels "
                "have no neighbours to be shifted to"
            )

    def _check_groups(self) -> None:
        if self.classes is None:
            return
        if not self.classes:
            raise ValueError("classes: got no group, allowed are one or more, each a list of class numbers")
        if self.class_seed is not None:
            raise ValueError(f"class_seed: got {self.class_seed} with classes, allowed is null: their order is given")
        _check_overlap(self.classes)
        if len(self.classes) != self.experiences:
            raise ValueError(
                f"experiences: got {self.experiences}, allowed is {len(self.classes)}, as many as there are groups in "
                "classes"
            )

    def groups(self, n_classes: int) -> list[list[int]]:
        """Classes of each experience, of a data set that has ``n_classes``.

        Raises:
            ValueError: for groups that it does not have, or that leave nothing to be told apart.
        """
        if self.shift != "none":
            return [list(range(n_classes))] * self.experiences
        groups = self._equal_groups(n_classes) if self.classes is None else [list(group) for group in self.classes]
        unknown = sorted({class_ for group in groups for class_ in group} - set(range(n_classes)))
        if unknown:
            raise ValueError(f"classes: got {unknown[0]}, allowed are 0 to {n_classes - 1}, those of {self.data.name}")
        least = 1 if self.scenario == "class" else 2
        small = [group for group in groups if len(group) < least]
        if small:
            key = "experiences" if self.classes is None else "classes"
            why = "" if least == 1 else ", else there is nothing to tell apart"
            raise ValueError(
                f"{key}: got an experience with {len(small[0])} of the classes in scenario {self.scenario}, "
                f"allowed are {least} or more{why}"
            )
        return groups

    def _equal_groups(self, n_classes: int) -> list[list[int]]:
        n = self.experiences
        if n > n_classes:
            raise ValueError(f"experiences: got {n}, allowed is 1 to {n_classes}, the classes of {self.data.name}")
        if n_classes % n:
            allowed = ", ".join(str(k) for k in range(1, n_classes + 1) if n_classes % k == 0)
            raise ValueError(
                f"experiences: got {n}, allowed are {allowed} for equal groups of {n_classes} classes; name unequal "
                "groups by classes"
            )
        order = np.arange(n_classes)
        if self.class_seed is not None:
            order = np.random.RandomState(self.class_seed).permutation(n_classes)
        return [group.tolist() for group in order.reshape(n, -1)]


def _check_overlap(classes: tuple[tuple[int, ...], ...]) -> None:
    met: set[int] = set()
    for group in classes:
        twice = sorted(met.intersection(group)) or sorted({class_ for class_ in group if group.count(class_) > 1})
        if twice:
            raise ValueError(f"classes: got class {twice[0]} twice, allowed is each class in one experience only")
        met.update(group)
