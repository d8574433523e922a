"""Lightning's log, which tells of the hardware at every trial, and of what the suite says itself."""

import logging


def errors_only() -> None:
    """Keep all but errors of Lightning's log from the terminal, for the rest of this process."""
    # Where it is first imported, it sets the levels itself.
    import lightning.fabric
    import lightning.pytorch

    for module in (lightning.fabric, lightning.pytorch):
        logging.getLogger(module.__name__).setLevel(logging.ERROR)
