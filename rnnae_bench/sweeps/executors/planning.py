"""From a setting to what its trials will be: checked as a trial is, with nothing trained and nothing written."""

from collections.abc import Sequence
from dataclasses import replace

from rnnae_bench.contracts.search_space import declared, plain
from rnnae_bench.errors import UserError
from rnnae_bench.options.nested import flatten, merge
from rnnae_bench.records.record import Match
from rnnae_bench.sweeps.executors.job import Member, Plan, Refusal, Setting
from rnnae_bench.trial.added_probes import added_probes
from rnnae_bench.trial.asked_probes import asked_probes
from rnnae_bench.trial.environment import require_matching_torchvision
from rnnae_bench.trial.matching import match_width
from rnnae_bench.trial.pair import Pair
from rnnae_bench.trial.trial import Trial
from rnnae_bench.trial.vectorized import reason_apart, worthwhile


def plan(setting: Setting, seeds: Sequence[int], data_seed: int | None = None) -> Plan | Refusal:
    """Check a setting and name its trials.

    Args:
        setting: What to run.
        seeds: One trial each; at least one.
        data_seed: As for `Trial`.
    """
    try:
        require_matching_torchvision()
        pair = Pair(setting.task, setting.model)
        match = setting.match
        if isinstance(match, str):
            setting, match = _matched(pair, setting, match)
        probes = added_probes(asked_probes(setting.probes))
        options = pair.resolve(setting.overrides)
        trial = Trial(pair, options, seeds[0], data_seed, may_be_skipped=True, match=match, probes=probes)
    except UserError as error:
        return Refusal(setting, str(error))
    members = []
    for seed in seeds:
        of_data = seed if data_seed is None else data_seed
        members.append(Member(trial.determinants.under(seed, of_data).identity, seed, of_data))
    if trial.unsupported is not None:
        skipped = trial.unmeasured("skipped", trial.unsupported)
        return Refusal(setting, trial.unsupported, skipped, tuple(members))
    apart, lag = reason_apart(trial), pair.card.lag_option
    return Plan(
        setting=setting,
        trials=tuple(members),
        draft=trial.unmeasured("error", "the process ended before the trial began"),
        steps=trial.task.protocol.max_steps,
        devices=trial.layout["devices"],
        accelerator=trial.layout["accelerator"],
        together=1 if apart else worthwhile(trial),
        apart=apart,
        lag=None if lag is None else (lag, flatten(trial.options["task"]).get(lag)),
        ranges={option: plain(one) for option, one in declared(pair.model_class).items()},
    )


def _matched(pair: Pair, setting: Setting, wanted: str) -> tuple[Setting, Match | None]:
    """The setting with the width that was wanted; as it is where the model does not support the task.

    Raises:
        UserError: as of `match_width`.
    """
    given = setting.overrides.get("model", {})
    options, match = match_width(pair, pair.resolve(setting.overrides), flatten(given), wanted)
    model = {"model": merge(given, options)} if options else {}
    return replace(setting, overrides={**setting.overrides, **model}, match=None), match
