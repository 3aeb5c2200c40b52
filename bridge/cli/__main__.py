"""`python -m wfrecovery.bridge.cli`: the same as the console script, for where that is not on the path."""

import sys

from .main import main

if __name__ == "__main__":
    sys.exit(main())
