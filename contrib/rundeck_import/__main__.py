"""`python -m contrib.rundeck_import JOBS.yaml FOLDER`: write a draft profile, and say what is left."""

import sys

from contrib.importing import run
from contrib.rundeck_import.rundeck import imported

sys.exit(run(imported, "rundeck_import", sys.argv[1:]))
