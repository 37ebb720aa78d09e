"""Which modalities are taken from which patient before prediction.

A pattern names modalities: `omics` alone means that nobody has it; `omics=0.5` means that a patient lacks it when u < 0.5,
with u ~ U(0, 1) drawn per patient, modality and seed. Who would lose everything that was measured keeps the modality with the
largest u. The draw depends on nothing else, so that a patient who lacks a modality at a rate lacks it at every higher rate.

`omics=shuffled` takes nothing: patients who have the modality get that of another one of them. What a model loses by it is what
it knows from the modality of this patient.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from prognos import runtime
from prognos.config import ConfigError, unknown

SHUFFLED = "shuffled"


@dataclass(frozen=True)
class Pattern:
    """What is missing.

    Args:
        text: as in the recipe; it names the rows of every table.
        absent: modalities that nobody has.
        rates: modality -> share of the patients that lack it.
        shuffled: modalities that patients have of each other.
    """

    text: str
    absent: frozenset[str] = frozenset()
    rates: Mapping[str, float] = field(default_factory=dict)
    shuffled: frozenset[str] = frozenset()


def parse_pattern(text: str, modalities: Collection[str], where: str = "study.missing") -> Pattern:
    """The pattern of a text such as `none`, `omics`, `omics=0.5;histology=0.2` or `omics=shuffled`.

    Args:
        text: what the recipe says.
        modalities: names that may be missing.
        where: key that the text is the value of, for messages.

    Raises:
        ConfigError: for an unknown modality, one named twice, or a rate outside 0 to 1.
    """
    if text.strip() == "none":
        return Pattern(text)
    absent: set[str] = set()
    shuffled: set[str] = set()
    rates: dict[str, float] = {}
    for part in text.split(";"):
        name, equals, rate = (piece.strip() for piece in part.partition("="))
        if name not in modalities:
            raise ConfigError(f"{where} = {text!r}: {unknown('modality', name, ['none', *modalities])}")
        if name in absent or name in rates or name in shuffled:
            raise ConfigError(f"{where} = {text!r} names {name} twice; name it once.")
        if rate == SHUFFLED:
            if name == "clinical":
                raise ConfigError(f"{where} = {text!r}: the clinical modality cannot be shuffled, it stands in one table with the outcome.")
            shuffled.add(name)
        elif equals:
            rates[name] = _rate(f"{where} = {text!r}", name, rate)
        else:
            absent.add(name)
    return Pattern(text, frozenset(absent), rates, frozenset(shuffled))


def missing_of(pattern: Pattern, measured: Mapping[str, Sequence[str]], seed: int) -> dict[str, frozenset[str]]:
    """The modalities to take from each patient.

    Args:
        pattern: what is missing.
        measured: patient -> what was measured of this patient.
        seed: of the draw.
    """
    return {patient: pattern.absent | _drawn(pattern, patient, has, seed) for patient, has in measured.items()}


def _drawn(pattern: Pattern, patient: str, measured: Sequence[str], seed: int) -> frozenset[str]:
    draws = {modality: runtime.uniform("missing", seed, patient, modality) for modality in pattern.rates}
    lost = {modality for modality, rate in pattern.rates.items() if draws[modality] < rate}
    at_risk = [modality for modality in pattern.rates if modality in measured]
    left = set(measured) - lost - pattern.absent
    if at_risk and not left:
        lost.discard(max(at_risk, key=lambda modality: draws[modality]))
    return frozenset(lost)


def _rate(given: str, name: str, rate: str) -> float:
    try:
        value = float(rate)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise ConfigError(f"{given}: the rate of {name} is {rate!r}; write a number from 0 to 1, or {SHUFFLED}.")
    return value
