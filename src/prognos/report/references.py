"""The works that a report cites, each as a line of text and as BibTeX."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Reference:
    """One work.

    Args:
        authors: as BibTeX has them, joined by `and`; an organisation in braces.
        title: of the work.
        kind: BibTeX's type of entry.
        rest: further BibTeX fields, in the order in which the text names them: journal or booktitle, volume, number, pages, year, note.
    """

    authors: str
    title: str
    kind: str
    rest: Mapping[str, str]

    @property
    def text(self) -> str:
        """The work as a line of a list of references."""
        names = [name.replace(",", "") for name in self.authors.split(" and ")]
        shown = ", ".join(names[:6]) + (" et al." if len(names) > 6 else "")
        venue = self.rest.get("journal") or self.rest.get("booktitle") or self.rest.get("note") or ""
        place = self.rest.get("volume", "")
        place += f"({self.rest['number'].replace('--', '–')})" if "number" in self.rest else ""
        place += f":{self.rest['pages'].replace('--', '–')}" if "pages" in self.rest else ""
        parts = [part for part in (venue, self.rest.get("year", ""), place) if part]
        ended = shown if shown.endswith(".") else f"{shown}."
        return f"{ended} {self.title}. {', '.join(parts)}." if parts else f"{ended} {self.title}."

    def bibtex(self, key: str) -> str:
        """The work as an entry of a BibTeX file."""
        fields = {"author": self.authors, "title": f"{{{self.title}}}", **self.rest}
        return f"@{self.kind}{{{key},\n" + "".join(f"  {name} = {{{value}}},\n" for name, value in fields.items()) + "}"


def _article(authors: str, title: str, journal: str, year: int, volume: str, number: str = "", pages: str = "") -> Reference:
    optional = {name: value for name, value in (("number", number), ("pages", pages)) if value}
    return Reference(authors, title, "article", {"journal": journal, "year": str(year), "volume": volume, **optional})


def _conference(authors: str, title: str, booktitle: str, year: int) -> Reference:
    return Reference(authors, title, "inproceedings", {"booktitle": booktitle, "year": str(year)})


REFERENCES: Mapping[str, Reference] = {
    "kaplan1958": _article(
        "Kaplan, E. L. and Meier, P.",
        "Nonparametric estimation from incomplete observations",
        "Journal of the American Statistical Association",
        1958,
        "53",
        "282",
        "457--481",
    ),
    "cox1972": _article(
        "Cox, D. R.", "Regression models and life-tables", "Journal of the Royal Statistical Society B", 1972, "34", "2", "187--220"
    ),
    "schemper1996": _article(
        "Schemper, M. and Smith, T. L.",
        "A note on quantifying follow-up in studies of failure time",
        "Controlled Clinical Trials",
        1996,
        "17",
        "4",
        "343--346",
    ),
    "klambauer2017": _conference(
        "Klambauer, G. and Unterthiner, T. and Mayr, A. and Hochreiter, S.",
        "Self-normalizing neural networks",
        "Advances in Neural Information Processing Systems 30",
        2017,
    ),
    "ilse2018": _conference(
        "Ilse, M. and Tomczak, J. M. and Welling, M.",
        "Attention-based deep multiple instance learning",
        "International Conference on Machine Learning",
        2018,
    ),
    "tta": Reference(
        "Liu, W. and Ren, Q. and Zhang, W. and Lin, Y. and You, C.",
        "Together, Then Apart: Revisiting Multimodal Survival Analysis via a Min-Max Perspective",
        "misc",
        {},
    ),
    "must": Reference(
        "Kim, K. and Hwang, D.",
        "MUST: Modality-Specific Representation-Aware Transformer for Diffusion-Enhanced Survival Prediction with Missing Modality",
        "misc",
        {"note": "arXiv:2603.26071"},
    ),
    "mcti": Reference(
        "Jiang, S. and Gan, Z. and Cai, L. and Wang, Y. and Zhang, Y.",
        "Multimodal Cross-Task Interaction for Survival Analysis in Whole Slide Pathological Images",
        "misc",
        {},
    ),
    "chen2021": _conference(
        "Chen, R. J. and Lu, M. Y. and Weng, W.-H. and Chen, T. Y. and Williamson, D. F. K. and Manz, T. and others",
        "Multimodal co-attention transformer for survival prediction in gigapixel whole slide images",
        "IEEE/CVF International Conference on Computer Vision",
        2021,
    ),
    "jaume2024": _conference(
        "Jaume, G. and Vaidya, A. and Chen, R. J. and Williamson, D. F. K. and Liang, P. P. and Mahmood, F.",
        "Modeling dense multimodal interactions between biological pathways and histology for survival prediction",
        "IEEE/CVF Conference on Computer Vision and Pattern Recognition",
        2024,
    ),
    "shao2021": _conference(
        "Shao, Z. and Bian, H. and Chen, Y. and Wang, Y. and Zhang, J. and Ji, X. and others",
        "TransMIL: transformer based correlated multiple instance learning for whole slide image classification",
        "Advances in Neural Information Processing Systems 34",
        2021,
    ),
    "loshchilov2019": _conference(
        "Loshchilov, I. and Hutter, F.",
        "Decoupled weight decay regularization",
        "International Conference on Learning Representations",
        2019,
    ),
    "harrell1996": _article(
        "Harrell, F. E. and Lee, K. L. and Mark, D. B.",
        "Multivariable prognostic models: issues in developing models, evaluating assumptions and adequacy, and measuring and reducing "
        "errors",
        "Statistics in Medicine",
        1996,
        "15",
        "4",
        "361--387",
    ),
    "uno2011": _article(
        "Uno, H. and Cai, T. and Pencina, M. J. and D'Agostino, R. B. and Wei, L. J.",
        "On the C-statistics for evaluating overall adequacy of risk prediction procedures with censored survival data",
        "Statistics in Medicine",
        2011,
        "30",
        "10",
        "1105--1117",
    ),
    "uno2007": _article(
        "Uno, H. and Cai, T. and Tian, L. and Wei, L. J.",
        "Evaluating prediction rules for t-year survivors with censored regression models",
        "Journal of the American Statistical Association",
        2007,
        "102",
        "478",
        "527--537",
    ),
    "graf1999": _article(
        "Graf, E. and Schmoor, C. and Sauerbrei, W. and Schumacher, M.",
        "Assessment and comparison of prognostic classification schemes for survival data",
        "Statistics in Medicine",
        1999,
        "18",
        "17--18",
        "2529--2545",
    ),
    "efron1979": _article(
        "Efron, B.", "Bootstrap methods: another look at the jackknife", "The Annals of Statistics", 1979, "7", "1", "1--26"
    ),
    "nadeau2003": _article(
        "Nadeau, C. and Bengio, Y.", "Inference for the generalization error", "Machine Learning", 2003, "52", "3", "239--281"
    ),
    "holm1979": _article(
        "Holm, S.",
        "A simple sequentially rejective multiple test procedure",
        "Scandinavian Journal of Statistics",
        1979,
        "6",
        "2",
        "65--70",
    ),
    "mantel1966": _article(
        "Mantel, N.",
        "Evaluation of survival data and two new rank order statistics arising in its consideration",
        "Cancer Chemotherapy Reports",
        1966,
        "50",
        "3",
        "163--170",
    ),
    "paszke2019": _conference(
        "Paszke, A. and Gross, S. and Massa, F. and Lerer, A. and Bradbury, J. and Chanan, G. and others",
        "PyTorch: an imperative style, high-performance deep learning library",
        "Advances in Neural Information Processing Systems 32",
        2019,
    ),
    "collins2024": _article(
        "Collins, G. S. and Moons, K. G. M. and Dhiman, P. and Riley, R. D. and Beam, A. L. and Van Calster, B. and others",
        "TRIPOD+AI statement: updated guidance for reporting clinical prediction models that use regression or machine learning methods",
        "BMJ",
        2024,
        "385",
        pages="e078378",
    ),
}

OF_MODELS: Mapping[str, tuple[str, ...]] = {
    "null": ("kaplan1958",),
    "clinical": ("cox1972",),
    "snn": ("klambauer2017",),
    "abmil": ("ilse2018",),
    "tta": ("tta",),
    "must": ("must",),
    "mcti": ("mcti",),
    "mcat": ("chen2021",),
    "survpath": ("jaume2024",),
    "transmil": ("shao2021",),
}
"""What to cite for a model and for its presets (tta, tta-paper, tta-released); others are described in words."""


def works_of(model: str) -> tuple[str, ...]:
    """The works to cite for a model or preset; none where there is no entry."""
    return OF_MODELS.get(model) or OF_MODELS.get(model.removesuffix("-paper").removesuffix("-released"), ())


class Citations:
    """Numbers works in the order in which they are first cited."""

    def __init__(self) -> None:
        self._order: list[str] = []

    def __call__(self, *keys: str) -> str:
        """The mark of some works, such as " [2, 3]", to stand before a full stop; nothing without works."""
        self._order += [key for key in dict.fromkeys(keys) if key not in self._order]
        numbers = sorted({self._order.index(key) + 1 for key in keys})
        return f" [{', '.join(map(str, numbers))}]" if numbers else ""

    @property
    def texts(self) -> tuple[str, ...]:
        """The cited works as lines, the first one first."""
        return tuple(REFERENCES[key].text for key in self._order)

    @property
    def bibtex(self) -> str:
        """The cited works as a BibTeX file."""
        return "\n\n".join(REFERENCES[key].bibtex(key) for key in self._order)
