"""`python -m handouts.demos.data`, from the folder of the course: any text as a token file."""

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import Annotated

import typer

from .sources import END_OF_TEXT, KINDS, Source
from .token_files import Manifest, prepare


def main(
    kind: Annotated[str, typer.Argument(help=f"One of {', '.join(KINDS)}.")],
    places: Annotated[list[str], typer.Argument(help="The files, or the name of a data set.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="The folder that is written.")],
    tokenizer: Annotated[Path, typer.Option(help="A file that Tokenizer.save has written, such as the demo's.")],
    field: Annotated[str, typer.Option(help="The entry of a record that is the text.")] = "text",
    split: Annotated[str, typer.Option(help="Of a data set by name.")] = "train",
    config: Annotated[str | None, typer.Option(help="Of a data set by name.")] = None,
) -> None:
    """Write documents as token ids that get_batch reads from the disk. Interrupted, the same command goes on."""
    from assignments.given.tokenizer import Tokenizer, pretokenize

    loaded = Tokenizer.load(tokenizer)
    encode_piece = lru_cache(1 << 18)(loaded.encode)
    separator_id = next((i for i, token in loaded.vocab.items() if token == END_OF_TEXT.encode()), None)
    if separator_id is None:
        raise typer.BadParameter(f"{tokenizer} has no token {END_OF_TEXT} to put between documents")
    try:
        source = Source(kind, tuple(places), field, split, config)
        done = prepare(
            source.documents,
            lambda text: [token_id for piece in pretokenize(text) for token_id in encode_piece(piece)],
            out,
            source=source.name,
            tokenizer=hashlib.sha256(tokenizer.read_bytes()).hexdigest(),
            vocab_size=max(loaded.vocab) + 1,
            separator_id=separator_id,
            on_flush=tell,
        )
    except (ValueError, FileNotFoundError, ModuleNotFoundError) as error:
        raise typer.BadParameter(str(error)) from None
    typer.echo(f"{out}: {done.tokens:,} tokens of {done.documents:,} documents, {done.bytes:,} bytes")


def tell(so_far: Manifest) -> None:
    typer.echo(f"  {so_far.documents:,} documents, {so_far.tokens:,} tokens", err=True)


if __name__ == "__main__":
    typer.run(main)
