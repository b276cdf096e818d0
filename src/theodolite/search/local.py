"""Asking nearby: SciPy's methods, with slope, with curvature, or with neither."""

import warnings

import numpy as np
from scipy.optimize import minimize

from theodolite.errors import SettingError
from theodolite.records import Status
from theodolite.search.ledger import Finished, Ledger
from theodolite.search.space import Space

SLOPED = {"l-bfgs": "L-BFGS-B", "cg": "CG", "bfgs": "BFGS"}
CURVED = {"newton-cg": "Newton-CG", "trust-ncg": "trust-ncg"}
BLIND = {"nelder-mead": "Nelder-Mead", "powell": "Powell"}
_KNOWS_BOUNDS = {"L-BFGS-B", "Nelder-Mead", "Powell"}
_MOST = {"L-BFGS-B": ("maxiter", "maxfun"), "Nelder-Mead": ("maxiter", "maxfev"), "Powell": ("maxiter", "maxfev")}


def search_locally(ledger: Ledger, space: Space, *, seed: int, method: str, tolerance: float = 0.0) -> str:
    """One of SciPy's methods from the start; its own limits are lifted, so that the budget alone ends it early."""
    name = (SLOPED | CURVED | BLIND)[method]
    if method in CURVED and not ledger.is_smooth:
        raise SettingError(f"method {method!r} must know Hessian products; got a function. Make an Objective of it.")
    if space.is_bounded and name not in _KNOWS_BOUNDS:
        raise SettingError(f"method {method!r} knows no bounds; got some. Leave them out and give start=.")
    is_sloped = method not in BLIND and ledger.is_smooth
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # SciPy's on values that are not finite: these are on the record
        found = minimize(
            ledger.gradient if is_sloped else ledger.value,
            space.start,
            jac=True if is_sloped else None,
            hessp=ledger.product if method in CURVED else None,
            method=name,
            bounds=np.stack([space.low, space.high], axis=1) if space.is_bounded else None,
            tol=tolerance or None,
            options=dict.fromkeys(_MOST.get(name, ("maxiter",)), ledger.budget),
        )
    if not found.success:
        raise Finished(Status.BREAKDOWN, str(found.message))
    return str(found.message)
