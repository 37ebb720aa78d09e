"""What the methods section says of the models of a run: which, how trained, which epoch."""

from collections.abc import Mapping, Sequence

from prognos.report.fits import FitFacts
from prognos.report.references import Citations, works_of
from prognos.report.run_folder import RunFolder
from prognos.report.verdicts import CANARY, counted, listed

SELECTIONS = {
    "last": "the weights after the last epoch were used, and nothing was chosen on the test part",
    "inner": "the number of epochs was chosen on a validation part cut out of the training part, then the model was fitted to all of it",
    "oracle": "the epoch was chosen on the test part itself (oracle), so that the reported numbers are too good",
}
LOSSES = {"cox": "Cox's partial likelihood", "discrete": "the likelihood of a discrete-time hazard"}
OF_TRAINING = ("epochs", "batch_size", "accumulate", "learning_rate", "weight_decay", "schedule", "warmup", "missing")


def said_of_models(run: RunFolder, cite: Citations) -> list[str]:
    """Sentences on models, seeds, training, selection and what stood in for what a patient lacked."""
    names = list(dict.fromkeys(run.predictions.model))
    if run.study.evaluated:
        return [f"Predictions of {listed(names)} were handed to prognos; how these models were trained is not known here."]
    described = [f"{name}{_summary(run, name)}{cite(*works_of(name))}" for name in names]
    sentences = [f"Compared were {listed(described)}."]
    variants = [label for label in dict.fromkeys(run.predictions.label) if label not in names and not label.endswith(f"@{CANARY}")]
    if variants:
        sentences.append(f"Variants were {listed(variants)}.")
    seeds = sorted(run.predictions.seed.unique())
    sentences.append(f"Every model was fitted with {counted(len(seeds), 'seed')} ({', '.join(f'{seed:g}' for seed in seeds)}).")
    return [*sentences, *_training(run, cite), *_selection(run), *_recalibration(run, cite), *_patches(run), *_filling(run)]


def _summary(run: RunFolder, name: str) -> str:
    """What a model does, and its paper where that is not among the references."""
    facts = run.study.models.get(name)
    if facts is None:
        return ""
    told = [text for text in (facts.summary, f"after {facts.paper}" if facts.paper and not works_of(name) else "") if text]
    return f" ({'; '.join(told)})" if told else ""


def _trained(run: RunFolder) -> dict[str, FitFacts]:
    """Fits of the models and variants that went through epochs, by label."""
    with_epochs = set(run.logs.label)
    return {label: fit for (_, label), fit in run.fits.items() if label in with_epochs and not label.endswith(f"@{CANARY}")}


def _training(run: RunFolder, cite: Citations) -> list[str]:
    alike: dict[tuple[tuple[str, object], ...], list[str]] = {}
    for label, fit in _trained(run).items():
        settings = {**{key: fit.training.get(key) for key in OF_TRAINING}, "loss": fit.config.get("survival")}
        settings |= {"stages": run.logs[run.logs.label == label].stage.nunique(), "at_most": fit.training.get("stop_after") is not None}
        alike.setdefault(tuple(settings.items()), []).append(label)
    if not alike:
        return ["How the models were trained is not recorded."] if len(run.logs) else []
    optimiser = f"with AdamW{cite('loshchilov2019')}"
    return [_of_settings(labels, dict(settings), optimiser) for settings, labels in alike.items()]


def _of_settings(labels: Sequence[str], settings: Mapping[str, object], optimiser: str) -> str:
    """One sentence on the training of models that have the same settings; what is not recorded is not said."""
    parts = [optimiser]
    if settings["loss"] in LOSSES:
        parts.insert(0, f"on {LOSSES[str(settings['loss'])]}, with whatever terms of its own a model adds,")
    if settings["epochs"] is not None:
        at_most, stage = "at most " if settings["at_most"] else "", " of the main stage" if settings["stages"] != 1 else ""
        parts.append(f"for {at_most}{settings['epochs']} epochs{stage}")
    if settings["batch_size"] is not None:
        together = f", {settings['accumulate']} batches to a step" if settings["accumulate"] not in (None, 1) else ""
        parts.append(f"in batches of {settings['batch_size']}{together}")
    told = [
        f"peak learning rate {settings['learning_rate']:g}" if isinstance(settings["learning_rate"], float) else "",
        f"weight decay {settings['weight_decay']:g}" if isinstance(settings["weight_decay"], float) else "",
        f"{settings['schedule']} schedule" if settings["schedule"] else "",
        f"warm-up over {settings['warmup']:.0%} of the steps" if isinstance(settings["warmup"], float) and settings["warmup"] else "",
    ]
    rates = ", ".join(text for text in told if text)
    missing = settings["missing"]
    taken = f"; training patients were taken not to have what {missing!r} says" if missing not in (None, "none") else ""
    verb = "was" if len(labels) == 1 else "were"
    return f"{listed(labels)} {verb} trained {' '.join(parts)}{f' ({rates})' if rates else ''}{taken}."


def _selection(run: RunFolder) -> list[str]:
    """How epochs were chosen, by the stamp of each row of the comparison, else by what the study says of all."""
    trained = list(_trained(run)) or list(dict.fromkeys(run.logs.label))
    if not trained:
        return []
    rows = run.comparison
    chosen: dict[str, list[str]] = {}
    for label in trained:
        stamps = set(rows.selection[rows.label == label]) if "selection" in rows else {run.study.selection}
        for stamp in stamps & set(SELECTIONS):
            chosen.setdefault(stamp, []).append(label)
    everyone = len(chosen) == 1
    return [f"{'For all trained models' if everyone else f'For {listed(labels)}'} {SELECTIONS[stamp]}." for stamp, labels in chosen.items()]


def _recalibration(run: RunFolder, cite: Citations) -> list[str]:
    """Whose survival curves were recalibrated on inner parts of the training part."""
    labels = [label for (_, label), fit in run.fits.items() if fit.training.get("recalibration") == "inner"]
    if not labels:
        return []
    return [
        f"The survival curves of {listed(list(dict.fromkeys(labels)))} are those of a Cox model of the risks of patients who were held out "
        f"in inner parts of the training part{cite('vanhouwelingen2000')}."
    ]


def _patches(run: RunFolder) -> list[str]:
    """How many patches were read, of models of slides that agree in it."""
    counts = {fit.tokens.get("n_patches") for fit in _trained(run).values() if "histology" in fit.reads}
    at_prediction = {fit.training.get("evaluation_patches") for fit in _trained(run).values() if "histology" in fit.reads}
    if len(counts) != 1 or None in counts:
        return []
    every = "; predictions read all of them" if at_prediction == {None} else ""
    return [f"In training at most {counts.pop():,} patches of a patient were read at a time{every}."]


def _filling(run: RunFolder) -> list[str]:
    """What stood in for a modality that some patients lack, of models that agree in it."""
    kept = [facts.kept for facts in run.cohorts.values()]
    lacking = any(
        count and n and count < n for n, facts in zip(kept, run.cohorts.values(), strict=True) for count in facts.modalities.values()
    )
    policies = {fit.tokens.get("fill") for (_, label), fit in run.fits.items() if fit.reads and not label.endswith(f"@{CANARY}")}
    if not lacking or len(policies) != 1 or None in policies:
        return []
    policy = policies.pop()
    if policy == "model":
        return ["Patients who lacked a modality were kept, and each model dealt with that in its own way."]
    return [
        f"Patients who lacked a modality were kept; what they lacked was filled in by the policy {policy!r}, learnt on the training part."
    ]
