"""Where a session has the right answers and the known mistakes from.

There are two sources: the reference and its mutants (live.py), and what was frozen of them for a student's kit
(frozen.py). Everything after them, from the comparison to the diagnosis, is the same for both.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from .axes import Signature
from .expected import Expected
from .fingerprint import Fingerprint
from .mutants import Mutant
from .outcome import Outcome

Seen_co = TypeVar("Seen_co", bound=Outcome | Fingerprint, covariant=True)


@dataclass(frozen=True)
class Known(Generic[Seen_co]):
    """A mutant on the rows of its own task, with given in place of the other tasks: what comes of it, what it fails.

    A frozen one holds the rows that it fails and no others.
    """

    mutant: Mutant
    alone: Mapping[str, Seen_co]
    fails: frozenset[str]


class Source(Protocol):
    """The truth of one module for one seed."""

    @property
    def expected(self) -> Mapping[str, Expected]:
        """Row → what is right."""

    @property
    def signatures(self) -> Mapping[str, Signature]:
        """Task → its arguments and axes."""

    @property
    def mutants(self) -> list[Mutant]:
        """The known mistakes of the module."""

    def known(self, task: str) -> Sequence[Known[Outcome | Fingerprint]]:
        """The known mistakes of one task."""

    def whole(self, mutant: Mutant) -> Mapping[str, Outcome | Fingerprint]:
        """What comes of a mutant as a whole file, on the rows of the module that it fails."""
