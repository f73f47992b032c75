"""A folder with a text as token ids: tokens.bin to be memory-mapped, and manifest.json that says what is in it.

It is written in constant memory. While that goes on, progress.json stands for the manifest: it says how much of
tokens.bin is certain, so that an interrupted preparation goes on from there. A folder is finished when it has a
manifest, and not before.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

SCHEMA = 1
FLUSH = 1 << 16  # tokens that are held before they are written
TOKENS, MANIFEST, PROGRESS = "tokens.bin", "manifest.json", "progress.json"
SAME = ("schema", "source", "tokenizer", "separator_id", "dtype")  # must be equal to go on

Documents = Callable[[int], Iterable[str]]  # from a number on, as Source.documents
Encode = Callable[[str], Sequence[int]]


@dataclass(frozen=True)
class Manifest:
    """What is in tokens.bin, whole or so far."""

    source: str
    tokenizer: str  # its name or checksum: ids mean nothing without it
    separator_id: int
    dtype: str  # of numpy, little-endian
    tokens: int = 0
    documents: int = 0  # that were read, the empty ones included
    sha256: str = hashlib.sha256().hexdigest()  # of the bytes of tokens.bin
    schema: int = SCHEMA

    @property
    def bytes(self) -> int:
        return self.tokens * np.dtype(self.dtype).itemsize


def prepare(
    documents: Documents,
    encode: Encode,
    folder: Path,
    *,
    source: str,
    tokenizer: str,
    vocab_size: int,
    separator_id: int,
    on_flush: Callable[[Manifest], Any] | None = None,
) -> Manifest:
    """Write the documents as token ids, the separator behind each; go on if that was begun before.

    Args:
        documents: gives them from a number on, the same ones in the same order each time; empty ones leave no trace.
        encode: text to token ids.
        folder: made if it does not exist. If it is finished already, nothing is done.
        source, tokenizer: say what is written; a folder that was begun with others is refused.
        vocab_size: ids are below it; two bytes an id are enough up to 65,536.
        on_flush: called with what is certain so far, some 65,000 tokens apart.
    Raises:
        ValueError: the folder holds something else, tokens.bin is not what was written, or an id is out of range.
    """
    dtype = "<u2" if vocab_size <= 1 << 16 else "<u4"
    wanted = Manifest(source, tokenizer, separator_id, dtype)
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / MANIFEST).exists():
        return _require_same(_read(folder / MANIFEST), wanted, folder)
    so_far, digest = _resume(folder, wanted)
    with (folder / TOKENS).open("r+b") as file:
        file.truncate(so_far.bytes)
        file.seek(so_far.bytes)
        held: list[int] = []
        number = so_far.documents
        for text in documents(so_far.documents):
            token_ids = encode(text) if text else ()
            if len(token_ids):
                held += token_ids
                held.append(separator_id)
            number += 1
            if len(held) >= FLUSH:
                so_far = _flush(file, held, replace(so_far, documents=number), digest, vocab_size)
                _write(folder / PROGRESS, so_far)
                held.clear()
                if on_flush is not None:
                    on_flush(so_far)
        so_far = _flush(file, held, replace(so_far, documents=number), digest, vocab_size)
    _write(folder / MANIFEST, so_far)
    (folder / PROGRESS).unlink(missing_ok=True)
    return so_far


def open_tokens(folder: Path, verify: bool = False) -> np.ndarray[Any, Any]:
    """The token ids of a finished folder, memory-mapped: only what is read of them costs memory.

    Args:
        verify: read the whole file and compare its checksum.
    Raises:
        ValueError: the folder is not finished, or tokens.bin is not what was written.
    """
    if not (folder / MANIFEST).exists():
        begun = f"{_read(folder / PROGRESS).documents} documents so far" if (folder / PROGRESS).exists() else "nothing"
        raise ValueError(f"{folder} is not finished ({begun}): run the preparation again, it goes on from there")
    manifest = _read(folder / MANIFEST)
    size = (folder / TOKENS).stat().st_size
    if size != manifest.bytes:
        raise ValueError(f"{folder / TOKENS} has {size} bytes, its manifest says {manifest.bytes}")
    if verify and _digest(folder / TOKENS, size).hexdigest() != manifest.sha256:
        raise ValueError(f"{folder / TOKENS} has changed: its checksum is not the one in {MANIFEST}")
    if not size:
        return np.empty(0, manifest.dtype)
    return np.memmap(folder / TOKENS, manifest.dtype, "r")


def _resume(folder: Path, wanted: Manifest) -> tuple[Manifest, Any]:
    """What is certain of an earlier preparation, and the checksum to go on with."""
    (folder / TOKENS).touch()
    if not (folder / PROGRESS).exists():
        return wanted, hashlib.sha256()
    so_far = _require_same(_read(folder / PROGRESS), wanted, folder)
    digest = _digest(folder / TOKENS, so_far.bytes)
    if digest.hexdigest() != so_far.sha256:
        raise ValueError(f"{folder / TOKENS} has changed since it was interrupted: delete {folder} to begin anew")
    return so_far, digest


def _require_same(found: Manifest, wanted: Manifest, folder: Path) -> Manifest:
    for name in SAME:
        if getattr(found, name) != getattr(wanted, name):
            both = f"{name} {getattr(found, name)!r}, wanted is {getattr(wanted, name)!r}"
            raise ValueError(f"{folder} holds {both}: choose another folder, or delete this one")
    return found


def _flush(file: Any, held: list[int], so_far: Manifest, digest: Any, vocab_size: int) -> Manifest:
    """Write what is held and make sure that it is on the disk before anything says so."""
    if held and not 0 <= min(held) <= max(held) < vocab_size:
        raise ValueError(f"a token id is not in [0, {vocab_size}): {min(held)} to {max(held)}")
    data = np.array(held, dtype=so_far.dtype).tobytes()
    file.write(data)
    file.flush()
    os.fsync(file.fileno())
    digest.update(data)
    return replace(so_far, tokens=so_far.tokens + len(held), sha256=digest.hexdigest())


def _digest(path: Path, size: int) -> Any:
    """The checksum of the first `size` bytes, read piece by piece."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while size and (data := file.read(min(size, 1 << 20))):
            digest.update(data)
            size -= len(data)
    return digest


def _read(path: Path) -> Manifest:
    return Manifest(**json.loads(path.read_text(encoding="utf-8")))


def _write(path: Path, manifest: Manifest) -> None:
    """In one step: at any moment the file is whole, the earlier one or the new."""
    half = path.with_suffix(".part")
    half.write_text(json.dumps(asdict(manifest), indent=1), encoding="utf-8")
    half.replace(path)
