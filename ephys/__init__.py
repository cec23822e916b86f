"""An electrophysiology rig for neural networks.

``import ephys`` costs nothing: what is named below is imported when it is first used, and torch
only with ``record``, ``probe``, ``models`` and ``stimuli``.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ephys import analysis as analysis
    from ephys import catalog as catalog
    from ephys import check_maps as check_maps
    from ephys import color as color
    from ephys import color_figures as color_figures
    from ephys import comparison as comparison
    from ephys import cones as cones
    from ephys import contact_sheet as contact_sheet
    from ephys import contrast as contrast
    from ephys import curve_fits as curve_fits
    from ephys import curve_shapes as curve_shapes
    from ephys import electrodes as electrodes
    from ephys import experiment as experiment
    from ephys import export as export
    from ephys import figures as figures
    from ephys import filters as filters
    from ephys import fits as fits
    from ephys import frequency as frequency
    from ephys import group_figures as group_figures
    from ephys import grouping as grouping
    from ephys import groups as groups
    from ephys import harris as harris
    from ephys import macaque_v1 as macaque_v1
    from ephys import mapping as mapping
    from ephys import measures as measures
    from ephys import models as models
    from ephys import modulation as modulation
    from ephys import multiple_comparisons as multiple_comparisons
    from ephys import opponency as opponency
    from ephys import overview as overview
    from ephys import panels as panels
    from ephys import permutation as permutation
    from ephys import rank_tests as rank_tests
    from ephys import receptive_field as receptive_field
    from ephys import recording as recording
    from ephys import reference as reference
    from ephys import report as report
    from ephys import responses as responses
    from ephys import responsiveness as responsiveness
    from ephys import rounding as rounding
    from ephys import selectivity as selectivity
    from ephys import separable as separable
    from ephys import shapes as shapes
    from ephys import similarity as similarity
    from ephys import solver as solver
    from ephys import statistics as statistics
    from ephys import stimuli as stimuli
    from ephys import suppression as suppression
    from ephys import tables as tables
    from ephys import tuning as tuning
    from ephys import verification as verification
    from ephys import visual_field as visual_field
    from ephys.experiment import probe as probe
    from ephys.recording import record as record
    from ephys.visual_field import VisualField as VisualField

MODULES = (
    "visual_field",
    "report",
    "reference",
    "recording",
    "receptive_field",
    "electrodes",
    "analysis",
    "catalog",
    "check_maps",
    "color",
    "comparison",
    "cones",
    "color_figures",
    "contact_sheet",
    "contrast",
    "curve_fits",
    "curve_shapes",
    "experiment",
    "export",
    "figures",
    "filters",
    "fits",
    "frequency",
    "harris",
    "group_figures",
    "grouping",
    "groups",
    "macaque_v1",
    "mapping",
    "measures",
    "models",
    "panels",
    "permutation",
    "rank_tests",
    "modulation",
    "multiple_comparisons",
    "opponency",
    "overview",
    "responses",
    "responsiveness",
    "rounding",
    "selectivity",
    "separable",
    "shapes",
    "similarity",
    "solver",
    "statistics",
    "stimuli",
    "suppression",
    "tables",
    "tuning",
    "verification",
)
FUNCTIONS = {
    "probe": "ephys.experiment",
    "record": "ephys.recording",
    "VisualField": "ephys.visual_field",
}

__all__ = [*MODULES, *FUNCTIONS]


def __getattr__(name: str) -> Any:
    if name in MODULES:
        return import_module(f"ephys.{name}")
    if name in FUNCTIONS:
        return getattr(import_module(FUNCTIONS[name]), name)
    raise AttributeError(f"module 'ephys' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
