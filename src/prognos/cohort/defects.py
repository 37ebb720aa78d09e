"""What is wrong with a cohort folder, and who was left out by a stated rule."""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

THREE = 3


def naming(names: Iterable[object]) -> str:
    """At most three of the names, and how many there are: "a, b, c and 4 more"."""
    listed = [str(name) for name in names]
    shown = ", ".join(listed[:THREE])
    return f"{shown} and {len(listed) - THREE} more" if len(listed) > THREE else shown


def owners(patients: Iterable[str]) -> tuple[str, ...]:
    """Each patient once, in their order; a file of nobody known (an empty id) has no owner."""
    return tuple(dict.fromkeys(patient for patient in patients if patient))


def nearest(name: str, known: Iterable[str]) -> str:
    """A question that names the nearest known name, and all known ones when they are few."""
    known = list(known)
    closest = difflib.get_close_matches(name.lower(), [candidate.lower() for candidate in known], n=1, cutoff=0.5)
    original = next((candidate for candidate in known if closest and candidate.lower() == closest[0]), None)
    question = f"did you mean {original!r}? " if original is not None else ""
    few = 12
    listed = ", ".join(known[:few]) + (f" and {len(known) - few} more" if len(known) > few else "")
    return f"{question}Known: {listed or 'none'}"


@dataclass(frozen=True)
class Defect:
    """One thing that is wrong with a cohort folder.

    Args:
        what: the fault, with its values.
        where: file, and column where there is one.
        remedy: what to do about it.
        patients: ids of those concerned, all of them.
    """

    what: str
    where: str
    remedy: str
    patients: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.where}: {self.what}; {self.remedy}."


class CohortError(ValueError):
    """A cohort folder cannot be used; `defects` holds everything that is wrong with it, not only the first."""

    def __init__(self, cohort: str, defects: Sequence[Defect]):
        self.cohort = cohort
        self.defects = tuple(defects)
        count = "one defect" if len(self.defects) == 1 else f"{len(self.defects)} defects"
        lines = [f"{cohort} has {count}:", *(f"  {number}. {defect}" for number, defect in enumerate(self.defects, start=1))]
        super().__init__("\n".join(lines))


@dataclass(frozen=True)
class Exclusion:
    """Patients who are left out by one stated rule; no error."""

    rule: str
    patients: tuple[str, ...]

    def __str__(self) -> str:
        return f"{len(self.patients)} left out: {self.rule} ({naming(self.patients)})"
