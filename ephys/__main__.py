"""``python -m ephys`` is ``ephys``."""

from ephys.cli import main

main()
