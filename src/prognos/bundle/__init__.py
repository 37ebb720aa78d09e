"""A fitted model that can leave the place where it was fitted: one folder or zip, checked when it is opened."""

from prognos.bundle.archive import BundleError, is_bundle
from prognos.bundle.bundle import Bundle
from prognos.bundle.ensemble import Ensemble, Joint
from prognos.bundle.make import make_bundle
from prognos.bundle.manifest import FORMAT, RISK_LEVELS, Manifest, Member
from prognos.bundle.places import bundle_at, fitted_folders, load
from prognos.bundle.summary import Reason, TrainingSummary, absent_genes

__all__ = [
    "FORMAT",
    "RISK_LEVELS",
    "Bundle",
    "BundleError",
    "Ensemble",
    "Joint",
    "Manifest",
    "Member",
    "Reason",
    "TrainingSummary",
    "absent_genes",
    "bundle_at",
    "fitted_folders",
    "is_bundle",
    "load",
    "make_bundle",
]
