"""`python -m contrib.github_import WORKFLOW.yml FOLDER`: write a draft profile, and say what is left."""

import sys

from contrib.github_import.github import imported
from contrib.importing import run

sys.exit(run(imported, "github_import", sys.argv[1:]))
