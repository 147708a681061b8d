"""A local FLORA API with faults, for the demo, for tests and for benchmarks.

It serves a made-up account (`Account`) on two ports of this machine, one for the API and one for the media,
and does wrong what it is told to do wrong (`Fault`). It imports nothing of the rest of floradl, so that it
cannot share its mistakes: what floradl believes about the API is checked against what FLORA says, not
against itself. FLORA's official SDK can use it.

From a shell: `python -m floradl.simulator --port 0 --runs 500`.
"""

from .account import Account, EditError
from .canvas import SimCanvas, SimNode
from .faults import Fault, FaultFileError, load_faults, parse_faults
from .media import Drawing, Kind
from .runs import Edit, Listing, RunStatus, SimOutput, SimProject, SimRun, SimTechnique, SimWorkspace
from .server import Simulator, serve_in_thread
from .uploads import AssetStatus, SimAsset
from .wire import SimRequest

__all__ = [
    "Account",
    "AssetStatus",
    "Drawing",
    "Edit",
    "EditError",
    "Fault",
    "FaultFileError",
    "Kind",
    "Listing",
    "RunStatus",
    "SimAsset",
    "SimCanvas",
    "SimNode",
    "SimOutput",
    "SimProject",
    "SimRequest",
    "SimRun",
    "SimTechnique",
    "SimWorkspace",
    "Simulator",
    "load_faults",
    "parse_faults",
    "serve_in_thread",
]
