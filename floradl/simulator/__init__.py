"""A local FLORA with faults, for the command `demo`, for tests and for benchmarks.

`Simulator` serves an account that exists only in memory (`Account`) on two ports of this machine: one is the
API with its key and its JSON, the other is the media host with its files. It does wrong what it is told to do
wrong (`Fault`), at the very request that it is told to.

What it promises:

- It imports nothing of the rest of floradl, so that the two cannot share a mistake: what floradl believes
  about the API is checked against FLORA's documentation and measurements, not against itself. FLORA's own SDK
  can use the simulator, and a test does.
- The same arguments give the same account, ids and bytes on every machine.
- Every request is in the log (`Simulator.requests`) before any byte of its answer leaves.
- A mistake inside the simulator is raised when it is closed; it never passes for an answer of FLORA.

Modules, each importing only from those above it:

    encoders, scenes, media    the bytes of outputs: pictures, films, sounds and documents drawn from a seed
    runs, uploads, canvas      the things an account holds, and the JSON that the API returns for each
    account                    the account: its lists, what can happen to them, what the key may see
    made_up_runs               runs with every kind of output and every oddity of the API
    made_up_sources            runs of techniques, uploads and canvases
    demo                       the account that `floradl demo` archives
    scenario                   `generate_account` and what adds to an account later
    edits, faults, fault_files changes and faults as data, and faults from a JSON file
    wire, endpoints, server    HTTP/1.1 on a stream, the answers, and the two servers

The way of a request: `server` reads it by `wire.read_request`, writes it into the log and looks for the
faults that match it; it makes their edits to the account; `endpoints` finds the answer in the account; and
`wire.send` sends it in the way that the faults ask for.

A test makes an account, serves it, changes it or adds a fault while it is served, and looks at what was
archived and asked for:

    account = generate_account(runs=40, seed=3)
    with serve_in_thread(account, faults=[Fault("*/generations", on=(2,), status=503)]) as simulator:
        ...  # archive from simulator.base_url with account.api_key
        insert_runs(account, 2)

From a shell: `python -m floradl.simulator --port 0 --runs 500`.
"""

from .account import Account
from .canvas import SimCanvas, SimNode
from .demo import demo_account
from .edits import Edit, EditError
from .fault_files import FaultFileError, load_faults, parse_faults
from .faults import Fault
from .media import Drawing, Kind
from .runs import Listing, RunStatus, SimOutput, SimProject, SimRun, SimTechnique, SimWorkspace
from .scenario import edit_canvas, generate_account, insert_assets, insert_runs, insert_technique_runs
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
    "demo_account",
    "edit_canvas",
    "generate_account",
    "insert_assets",
    "insert_runs",
    "insert_technique_runs",
    "load_faults",
    "parse_faults",
    "serve_in_thread",
]
