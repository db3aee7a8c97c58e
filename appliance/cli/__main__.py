"""`python -m appliance.cli` is `branchline`."""

import sys

from appliance.cli import main

sys.exit(main())
