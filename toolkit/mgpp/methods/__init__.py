"""List the pruning methods by name: `METHODS`.

A method says everything about itself in one class, see `mgpp.methods.base.Method`. A method of your own is known as
soon as your file has run `METHODS["name"] = YourMethod`.
"""

from mgpp.methods.base import Method
from mgpp.methods.curvature import L2Fisher, MGPPFisher, OptimalBrainDamage
from mgpp.methods.l0 import L0Gates
from mgpp.methods.magnitude import GMP, Dense, GMPStar, Lasso, Ridge
from mgpp.methods.mgpp import MGPP
from mgpp.methods.movement import MovementPruning, SoftMovementPruning
from mgpp.methods.platon import Platon, PlatonFrozen
from mgpp.methods.transfer import Transfer

__all__ = ["METHODS", "Method"]

METHODS: dict[str, type[Method]] = {  # in the order of tables and legends
    "dense": Dense,
    "mgpp": MGPP,
    "l2": Ridge,
    "l1": Lasso,
    "gmp": GMP,
    "gmp-star": GMPStar,
    "l0": L0Gates,
    "movement": MovementPruning,
    "soft-movement": SoftMovementPruning,
    "platon": Platon,
    "platon-frozen": PlatonFrozen,
    "obd": OptimalBrainDamage,
    "mgpp-fisher": MGPPFisher,
    "l2-fisher": L2Fisher,
    "transfer": Transfer,
}
