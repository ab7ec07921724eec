"""Reading CSV so that an error can name the file and the line."""

import csv
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from profiles.errors import TableError

__all__ = ["CsvLine", "csv_lines", "read_csv_text"]


@dataclass(frozen=True, slots=True)
class CsvLine:
    """A row as text by column, and the line it stood on (the header is line 1)."""

    number: int
    cells: Mapping[str, str]


def read_csv_text(path: Path) -> str:
    """
    The text of a CSV file.

    Raises
    ------
    TableError
        When it is not UTF-8 or cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise TableError(f"It cannot be read as UTF-8 text ({error}).", file=str(path)) from None


def csv_lines(
    text: str, name: str, check_header: Callable[[Sequence[str]], None]
) -> Iterator[CsvLine]:
    """
    The rows of a CSV text, without blank lines and without blanks around the cells.

    Parameters
    ----------
    text
        The rows, their header first.
    name
        What errors call the text.
    check_header
        Raises where the names of the columns are not as they must be.

    Raises
    ------
    TableError
        When a row has more or fewer cells than the header, or the text is not CSV.
    """
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = [cell.strip() for cell in next(reader, [])]
        check_header(header)
        start = reader.line_num + 1
        for cells in reader:
            if len(cells) not in (0, len(header)):
                raise TableError(
                    f"It has {len(cells)} cells, but the header has {len(header)}.",
                    file=name,
                    line=start,
                )
            if cells:
                stripped = (cell.strip() for cell in cells)
                yield CsvLine(start, dict(zip(header, stripped, strict=True)))
            start = reader.line_num + 1
    except csv.Error as error:
        raise TableError(f"It is not CSV ({error}).", file=name, line=reader.line_num) from None
