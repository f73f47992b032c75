"""Where documents come from. A source gives them one at a time, in the same order each time, from any number on.

Plain text needs nothing. JSON lines, Parquet and data sets by name are read by the `datasets` library, always
streaming: what does not fit into memory, or on the disk, is read all the same.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

KINDS = ("text", "json", "parquet", "hub")
END_OF_TEXT = "<|endoftext|>"  # what stands between two documents in a file of plain text
LONGEST = 1 << 20  # characters: a longer text is cut at the end of a line, so that little of it is held at a time
READ = 1 << 16


@dataclass(frozen=True)
class Source:
    """Documents of one kind.

    kind: `text`, `json` (one object a line), `parquet`, or `hub`: a data set by its name on the Hugging Face hub, such
        as roneneldan/TinyStories, or by its folder.
    places: the files, or one name.
    field: which entry of a record is the text; plain text has none.
    split, config: of a data set by name.
    """

    kind: str
    places: tuple[str, ...]
    field: str = "text"
    split: str = "train"
    config: str | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be read.

        Raises:
            ValueError: kind is none of the four, places are empty, or a data set has more than one name.
            FileNotFoundError: one of the files does not exist.
        """
        if self.kind not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(KINDS)}, got kind='{self.kind}'")
        if not self.places or (self.kind == "hub" and len(self.places) > 1):
            raise ValueError(f"places must be files, or the name of one data set, got places={self.places}")
        missing = [place for place in self.places if self.kind != "hub" and not Path(place).is_file()]
        if missing:
            raise FileNotFoundError(f"no such file: {', '.join(missing)}")

    @property
    def name(self) -> str:
        """What is read, in one line; two sources with one name give the same documents."""
        words = [self.kind, *self.places]
        if self.kind != "text":
            words.append(f"field {self.field}")
        if self.kind == "hub":
            words += [f"split {self.split}", *([f"config {self.config}"] if self.config else [])]
        return ", ".join(words)

    def documents(self, start: int = 0) -> Iterator[str]:
        """The documents from number `start` on; an empty one is given, too, so that the numbers stay the same.

        Raises:
            ModuleNotFoundError: `datasets` is not installed.
            ValueError: a record has no such field.
        """
        if self.kind == "text":
            return islice(_texts(self.places), start, None)
        return (self._text(record) for record in self._records().skip(start))

    def _records(self) -> Any:
        try:
            from datasets import load_dataset
        except ModuleNotFoundError:
            why = f"reading {self.kind} needs the package datasets; run: pip install -e '.[data]'"
            raise ModuleNotFoundError(why, name="datasets") from None
        if self.kind == "hub":
            return load_dataset(self.places[0], self.config, split=self.split, streaming=True)
        return load_dataset(self.kind, data_files=list(self.places), split="train", streaming=True)

    def _text(self, record: dict[str, Any]) -> str:
        if self.field not in record:
            raise ValueError(f"{self.name}: a record has no field '{self.field}', only {', '.join(sorted(record))}")
        return record[self.field] or ""


def _texts(files: tuple[str, ...]) -> Iterator[str]:
    """The parts between two END_OF_TEXT, without the empty lines around them."""
    for file in files:
        held = ""
        with Path(file).open(encoding="utf-8") as stream:
            while chunk := stream.read(READ):
                *whole, held = (held + chunk).split(END_OF_TEXT)
                yield from (text.strip("\n") for text in whole)
                while len(held) > LONGEST + len(END_OF_TEXT):  # the end of it may be half of the mark
                    cut = held.rfind("\n", 0, LONGEST) + 1 or LONGEST
                    yield held[:cut].strip("\n")
                    held = held[cut:]
        if held.strip("\n"):
            yield held.strip("\n")
