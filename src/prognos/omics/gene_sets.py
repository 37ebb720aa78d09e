"""Gene sets as GMT files: one set a line, `name <tab> description <tab> gene <tab> gene ...`."""

from pathlib import Path


class GeneSetError(ValueError):
    """A GMT file that cannot be used; the message names the file, the line and what to do."""


def read_gmt(path: str | Path) -> dict[str, tuple[str, ...]]:
    """The gene sets of a GMT file: name -> genes, both in the order of the file.

    Blank lines and the empty fields that spreadsheets leave at the end of a line are not content. A gene that a line
    names twice is one gene of the set.

    Args:
        path: the file; the description field of its lines is not used and may be empty.

    Raises:
        GeneSetError: the file cannot be read, is not GMT, has a set without a gene or two sets of one name.
    """
    path = Path(path)
    gene_sets: dict[str, tuple[str, ...]] = {}
    line_of: dict[str, int] = {}
    for number, line in enumerate(_lines(path), start=1):
        if not line.strip():
            continue
        name, genes = _gene_set(line, f"{path}, line {number}")
        if name in gene_sets:
            raise GeneSetError(
                f"{path}, line {number}: the gene set {name!r} is already defined on line {line_of[name]}; rename or remove one of the two."
            )
        gene_sets[name], line_of[name] = genes, number
    if not gene_sets:
        raise GeneSetError(f"{path} holds no gene set: a GMT file has one set a line, 'name<tab>description<tab>gene<tab>gene ...'.")
    return gene_sets


def _lines(path: Path) -> list[str]:
    """The lines of a text file."""
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise GeneSetError(f"{path} cannot be read ({error.strerror}); give the path of a GMT file.") from error
    except UnicodeDecodeError as error:
        raise GeneSetError(f"{path} is not GMT: byte {error.start} is not text; unpack it, or export it as tab-separated text.") from error


def _gene_set(line: str, where: str) -> tuple[str, tuple[str, ...]]:
    """Name and genes of one line."""
    name, *others = (part.strip() for part in line.split("\t"))
    if not others or not name:
        lack = "no name" if others else "no tab"
        raise GeneSetError(f"{where}: not GMT, {line[:40].strip()!r} has {lack}; a line is 'name<tab>description<tab>gene<tab>gene ...'.")
    genes = tuple(dict.fromkeys(gene for gene in others[1:] if gene))
    if not genes:
        raise GeneSetError(f"{where}: the gene set {name!r} is empty; the first gene is the third field. Add its genes or remove the line.")
    return name, genes
