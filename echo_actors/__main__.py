"""Runs the command as ``python -m echo_actors``."""

import sys

from echo_actors.commands import main

sys.exit(main())
