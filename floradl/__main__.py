"""`python -m floradl`."""

import sys

from floradl.cli import main

sys.exit(main())
