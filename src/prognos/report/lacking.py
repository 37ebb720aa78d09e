"""Which comparisons a study lacks, without which its result is hard to judge."""

from prognos.models import MODELS
from prognos.report.run_folder import RunFolder
from prognos.report.verdicts import listed

MODALITIES = ("omics", "histology")
BASELINES = {
    "null": "model that knows nothing",
    "clinical": "clinical baseline",
    "late-fusion": "late fusion",
}
WHY = {
    "null": "what one survival curve for everyone would score is not shown",
    "clinical": "whether anything goes beyond age, sex, stage and grade cannot be told",
    "late-fusion": "whether fusing early gains anything over averaging two models cannot be told",
    "unimodal": "what fusion adds to one modality cannot be told",
    "canary": "whether the pipeline itself leaks was not tested",
}


def lacking_sentences(run: RunFolder) -> list[str]:
    """A sentence for each comparison that the study lacks, with what cannot be told without it.

    Models that prognos does not know (of another tool's predictions) are taken by their names alone. Late fusion and models of one modality
    are missed only where a model reads both modalities.
    """
    models = list(dict.fromkeys(run.predictions.model))
    reads = {name: _reads(run, name) for name in models}
    fused = [name for name in models if set(MODALITIES) <= set(reads[name]) and name != "late-fusion"]
    lacking = [name for name in BASELINES if name not in models and (name != "late-fusion" or fused)]
    sentences = [f"This study has no {BASELINES[name]} ({name}): {WHY[name]}." for name in lacking]
    alone = [modality for modality in MODALITIES if (modality,) not in reads.values()]
    if fused and alone:
        sentences.append(f"This study has no model of {listed(alone)} alone: {WHY['unimodal']}.")
    if not run.study.canary and not run.study.evaluated:
        sentences.append(f"This study has no noise canary (--canary): {WHY['canary']}.")
    return sentences


def _reads(run: RunFolder, name: str) -> tuple[str, ...]:
    """Modalities that a model reads: as its fits say, else as the table of models does; none where neither knows it."""
    found = [fit.reads for (_, label), fit in run.fits.items() if label == name]
    if found:
        return found[0]
    return tuple(MODELS[name].load().needs.modalities) if name in MODELS else ()
