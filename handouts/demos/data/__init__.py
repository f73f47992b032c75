"""Text from anywhere, as a file of token ids that training reads without loading it.

sources: documents from plain text, JSON lines, Parquet, or a data set by name. token_files: the file, its manifest, and
a preparation that goes on where it was interrupted. `python -m handouts.demos.data --help` does both.
"""

from .sources import Source
from .token_files import Manifest, open_tokens, prepare

__all__ = ["Manifest", "Source", "open_tokens", "prepare"]
