"""What does the evidence say of each obstacle? One pure rule an obstacle, ``judge(evidence) -> Finding``.

Every threshold stands in ``thresholds`` with its reason. A rule answers UNDETERMINED when what it needs was not
measured.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from theodolite.diagnosis.evidence import Evidence
from theodolite.diagnosis.rules.far import judge_no_minimum, judge_nonlocal_structure
from theodolite.diagnosis.rules.noise import judge_gradient_noise
from theodolite.diagnosis.rules.overfitting import judge_overfitting
from theodolite.diagnosis.rules.points import judge_dead_units, judge_local_minimum, judge_plateau, judge_saddle_point
from theodolite.diagnosis.rules.steps import judge_none, judge_step_too_large, judge_step_too_small
from theodolite.diagnosis.rules.surface import judge_cliff, judge_ill_conditioning
from theodolite.records import Finding

Rule = Callable[[Evidence], Finding]

RULES: Mapping[str, Rule] = MappingProxyType(
    {
        "none": judge_none,
        "step_too_small": judge_step_too_small,
        "step_too_large": judge_step_too_large,
        "gradient_noise": judge_gradient_noise,
        "saddle_point": judge_saddle_point,
        "local_minimum": judge_local_minimum,
        "plateau": judge_plateau,
        "dead_units": judge_dead_units,
        "ill_conditioning": judge_ill_conditioning,
        "cliff": judge_cliff,
        "no_minimum": judge_no_minimum,
        "nonlocal_structure": judge_nonlocal_structure,
        "overfitting": judge_overfitting,
    }
)
"""The rules that there are."""
