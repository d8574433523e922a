"""Where a command starts to import torch."""


def load_libraries() -> None:
    """Import torch, torchvision and Lightning, whose log is kept to errors from here on.

    Raises:
        UserError: the torchvision that is installed does not fit torch.
    """
    from rnnae_bench.trial.environment import require_matching_torchvision

    require_matching_torchvision()
    from rnnae_bench.training.lightning import errors_only

    errors_only()
