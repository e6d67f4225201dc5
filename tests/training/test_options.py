"""The options of the training command, beside those of what starts it on several GPUs."""

from torch.distributed.run import get_args_parser

from vnlsdenoise.training.__main__ import main


def test_torchrun_leaves_every_option_to_the_command() -> None:
    """It looks for its own among them, shortened too: one that may be two of those ends it."""
    options = [name for parameter in main.params for name in parameter.opts if name.startswith("-")]
    assert "--weights" in options
    for name in options:
        given = ["--nproc-per-node", "2", "-m", "vnlsdenoise.training", "footage", name, "1"]
        parsed = get_args_parser().parse_args(given)
        assert parsed.training_script_args == ["footage", name, "1"]
