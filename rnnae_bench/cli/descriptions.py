"""All that is known of one model, one task or one probe, from its source and its card alone, ready for JSON."""

import ast
from typing import Any

from rnnae_bench.cli.own_options import own_parameters
from rnnae_bench.contracts.card import Card, Variant, card_path, load_card
from rnnae_bench.errors import UserError
from rnnae_bench.plugins.references import entries_of
from rnnae_bench.plugins.registry import Handle, models, parse_task, probes, tasks
from rnnae_bench.plugins.source import ClassSource, Parameter


def describe_model(name: str) -> dict[str, Any]:
    """All that is known of a model without importing it, ready for JSON.

    Raises:
        UserError: there is no such model, or it is broken.
    """
    handle = models().get(name)
    source = _source(handle)
    return {
        **_origin(handle, source),
        "description": source.description,
        "cites": list(source.bibtex),
        "hyperparameters": _parameters(handle, source),
        "tuned": {
            label: tuned[name]
            for task, card in _cards().items()
            for label, tuned in _tuned(card, task).items()
            if name in tuned
        },
    }


def describe_task(text: str) -> dict[str, Any]:
    """All that is known of a task without importing it, ready for JSON; of one variant where ``:VARIANT`` is given.

    Raises:
        UserError: there is no such task or variant, the task is broken, or its card is.
    """
    name, chosen = parse_task(text)
    handle = tasks().get(name)
    source = _source(handle)
    card = load_card(card_path(source.path, name))
    shown = [card.variant(chosen)] if ":" in text else [*card.variants.values()]
    readme = card.path.with_name("README.md")
    return {
        **_origin(handle, source),
        "title": card.title,
        "measures": card.measures,
        "description": source.description,
        "sources": card.sources,
        "cites": card.bibtex,
        "licence": card.licence,
        "card": str(card.path),
        "readme": str(readme) if readme.is_file() else None,
        "options": _parameters(handle, source),
        "variants": {variant.name: _variant(variant) for variant in shown},
        "broken_variants": card.broken,
        "lag_option": card.lag_option,
        "tuning": card.tuning,
        "tuned": card.tuned,
        "retired": card.retired,
    }


def describe_probe(name: str) -> dict[str, Any]:
    """All that is known of a probe without importing it, ready for JSON.

    Raises:
        UserError: there is no such probe, or it is broken.
    """
    handle = probes().get(name)
    source = _source(handle)
    return {
        **_origin(handle, source),
        "description": source.description,
        "cites": list(source.bibtex),
        "options": _parameters(handle, source),
    }


def bibtex_of(handle: Handle) -> list[str]:
    """The BibTeX entries of a model, task or probe; none where it names nothing to cite.

    Raises:
        UserError: it is broken, or cites what no ``references.bib`` has.
    """
    source = _source(handle)
    keys = load_card(card_path(source.path, handle.name)).bibtex if handle.kind == "task" else list(source.bibtex)
    return entries_of(f"the {handle.kind} '{handle.name}'", keys, handle.module, source.path)


def _source(handle: Handle) -> ClassSource:
    reason = handle.broken()
    if reason:
        raise UserError(f"cannot show the {handle.kind} '{handle.name}' of {handle.distribution}: {reason}")
    source = handle.source()
    if source is None:
        raise UserError(f"cannot show the {handle.kind} '{handle.name}': {handle.value} has no Python source to read")
    return source


def _cards() -> dict[str, Card]:
    """The cards of all tasks that have a sound one, by task."""
    cards = {}
    for handle in tasks().handles():
        source = handle.source()
        try:
            if source:
                cards[handle.name] = load_card(card_path(source.path, handle.name))
        except Exception:  # a broken task hides its own card only; `list` says what is wrong with it
            continue
    return cards


def _tuned(card: Card, task: str) -> dict[str, dict[str, dict[str, Any]]]:
    """Tuned hyper-parameters by model, of the whole task under its name, of a variant alone under ``NAME:VARIANT``."""
    of_variants = {f"{task}:{name}": variant.tuned for name, variant in card.variants.items()}
    return {task: card.tuned, **of_variants}


def _origin(handle: Handle, source: ClassSource) -> dict[str, Any]:
    return {
        "kind": handle.kind,
        "name": handle.name,
        "class": handle.value,
        "distribution": handle.distribution,
        "version": handle.version,
        "path": str(source.path),
        "line": source.line,
    }


def _parameters(handle: Handle, source: ClassSource) -> list[dict[str, Any]] | None:
    """The constructor's arguments that a user may set; None where the source doesn't show them."""
    if source.parameters is None:
        return None
    return [
        {
            "name": each.name,
            "type": each.type,
            "required": each.default is None,
            "default": _value(each),
            "description": each.description,
        }
        for each in own_parameters(handle)
    ]


def _value(parameter: Parameter) -> Any:
    """The default itself where JSON has it, else its source."""
    try:
        return ast.literal_eval(parameter.default or "None")
    except ValueError:
        return parameter.default


def _variant(variant: Variant) -> dict[str, Any]:
    return {
        "summary": variant.summary,
        "data": variant.data,
        "protocol": vars(variant.protocol),
        "superseded_by": variant.superseded_by,
        "data_version": variant.data_version,
        "needed_lag": variant.needed_lag,
        "tuned": variant.tuned,
        "primary": vars(variant.primary),
        **vars(variant.scale),
        "baselines": {name: vars(baseline) for name, baseline in variant.baselines.items()},
    }
