"""Which trials can be trained as one, and how many of them are worth it."""

from rnnae_bench.contracts.model import BenchModule
from rnnae_bench.errors import in_a_line
from rnnae_bench.trial.added_probes import as_one_objection
from rnnae_bench.trial.trial import Trial
from rnnae_bench.trial.vectorized.examination import objection

PRECISIONS = ("32-true", "64-true", "bf16-mixed")
"""That trials can be trained as one in; fp16 would need one loss scale a member."""


def reason_apart(trial: Trial) -> str | None:
    """Why trials like this one, of other seeds, can't be trained as one with it; None where they can."""
    if trial.fits_itself:
        return "it trains itself by its fit"
    trainer, layout = trial.options["trainer"], trial.layout
    if layout["devices"] > 1:
        return f"it runs on {layout['devices']} devices, and only a trial on one can"
    if trial.blocks is None:
        return "it is not trained in blocks (a trainer option or the task asks for single batches)"
    if layout["strategy"] != "SingleDeviceStrategy":
        return f"it runs under {layout['strategy']}"
    if layout["precision"] not in PRECISIONS:
        return f"precision {layout['precision']}; only {', '.join(PRECISIONS)} can"
    for option in ("profiler", "plugins"):
        if trainer[option]:
            return f"the option trainer.{option} is for a single trial"
    alone = as_one_objection(trial.probes)
    if alone:
        return alone
    if "optimization" not in trial.options["model"]:
        return "its optimization is none of its options"
    try:
        model = trial.build_without_weights()
    except Exception as error:
        return f"it can't be built without weights ({in_a_line(error)})"
    assert isinstance(model, BenchModule)
    return model.stackable() or objection(trial.pair, trial.options)


TOGETHER = {256: 64, 512: 32, 1024: 16, 2048: 8}
"""How many are trained as one where batch times units are at most so many numbers, on a CPU."""

_STATES = 2**22
"""Numbers in the states of all members, over all steps and layers, that are kept for the backward pass at most."""


def worthwhile(trial: Trial) -> int:
    """How many trials like this one, which can be trained as one, it pays to: 1 where nothing is won.

    Measured on one CPU thread, on copy with T = 20: how many times as many model-steps a second as alone, all probes
    included (`benchmarks/throughput`; its README has the whole table). A step of a small model is overhead, which is
    shared; from some 4096 numbers in a batch of states on, most is arithmetic.

    ======  ======  ======  ======  ======
    units   batch   K       rnn     gru
    ======  ======  ======  ======  ======
    16      8       64      9.9     9.8
    16      16      32      5.8     4.8
    16      32      32      4.4     3.9
    64      32      8       2.4     1.7
    64      32      32      2.9     1.8
    ======  ======  ======  ======  ======

    An lstm wins 3.4 with 16 units (K = 8) and 1.6 with 64 (K = 8), where it runs alone in PyTorch's fused recurrence.

    Eight models without a model axis of their own, trained as one, won 2 to 5 where they loop over the steps, and lost
    where one product is most of the work (`benchmarks/throughput`): 1, so that it is left to who asks for it.

    On a GPU nothing could be measured yet, and a trial alone has fused recurrences there: 1, until it is. To train some
    as one there is left to who asks for it (``--vectorize K``).
    """
    if trial.layout["accelerator"] != "cpu" or not _has_model_axis(trial.pair.model_class):
        return 1
    model, batch_size = trial.options["model"], trial.task.protocol.batch_size
    state = batch_size * model["hidden_size"]
    together = next((most for size, most in TOGETHER.items() if state <= size), 1)
    passages = model["layers"] * (2 if model["bidirectional"] else 1)
    return max(1, min(together, _STATES // (state * passages * trial.task.spec.sequence.length)))


def _has_model_axis(model_class: type) -> bool:
    """Whether a class, or one that it is derived from, has a `stack` of its own."""
    derived = model_class.__mro__[: model_class.__mro__.index(BenchModule)]
    return any("stack" in vars(one) for one in derived)
