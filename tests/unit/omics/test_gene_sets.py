"""Gene sets are read from GMT, or refused with file and line."""

import pytest

from prognos.omics import GeneSetError, read_gmt


def written(folder, text: str, name: str = "sets.gmt"):
    path = folder / name
    path.write_bytes(text.encode("utf-8") if isinstance(text, str) else text)
    return path


def test_sets_and_genes_keep_the_order_of_the_file(tmp_path):
    path = written(tmp_path, "growth\tabout growth\tG3\tG1\nrepair\t\tG2\tG1\n")
    assert list(read_gmt(path).items()) == [("growth", ("G3", "G1")), ("repair", ("G2", "G1"))]


def test_a_gene_named_twice_is_one_gene_and_trailing_tabs_are_none(tmp_path):
    assert read_gmt(written(tmp_path, "growth\tx\tG1\tG2\tG1\t\t\n\n")) == {"growth": ("G1", "G2")}


def test_windows_line_ends_and_a_byte_order_mark_are_read(tmp_path):
    assert read_gmt(written(tmp_path, "\ufeffgrowth\tx\tG1\r\nrepair\tx\tG2\r\n")) == {"growth": ("G1",), "repair": ("G2",)}


def test_a_set_without_genes_is_refused_with_its_line(tmp_path):
    with pytest.raises(GeneSetError, match=r"sets\.gmt, line 2: the gene set 'repair' is empty.*Add its genes"):
        read_gmt(written(tmp_path, "growth\tx\tG1\nrepair\tonly a description\n"))


def test_a_repeated_name_is_refused_with_both_lines(tmp_path):
    with pytest.raises(GeneSetError, match=r"sets\.gmt, line 3: the gene set 'growth' is already defined on line 1; rename"):
        read_gmt(written(tmp_path, "growth\tx\tG1\nrepair\tx\tG1\ngrowth\tx\tG2\n"))


def test_a_table_with_commas_is_not_gmt(tmp_path):
    with pytest.raises(GeneSetError, match=r"sets\.csv, line 1: not GMT, 'growth,G1,G2' has no tab; a line is"):
        read_gmt(written(tmp_path, "growth,G1,G2\n", "sets.csv"))


def test_a_line_without_a_name_is_not_gmt(tmp_path):
    with pytest.raises(GeneSetError, match=r"line 1: not GMT, .* has no name"):
        read_gmt(written(tmp_path, "\tabout growth\tG1\n"))


def test_a_compressed_file_is_not_gmt(tmp_path):
    path = tmp_path / "sets.gmt.gz"
    path.write_bytes(b"\x1f\x8b\x08\x00\xff\xfe")
    with pytest.raises(GeneSetError, match=r"sets\.gmt\.gz is not GMT: byte 1 is not text; unpack it"):
        read_gmt(path)


def test_an_empty_file_holds_no_gene_set(tmp_path):
    with pytest.raises(GeneSetError, match=r"sets\.gmt holds no gene set: a GMT file has one set a line"):
        read_gmt(written(tmp_path, "\n\n"))


def test_an_absent_file_is_said(tmp_path):
    with pytest.raises(GeneSetError, match=r"absent\.gmt cannot be read \(No such file or directory\); give the path"):
        read_gmt(tmp_path / "absent.gmt")
