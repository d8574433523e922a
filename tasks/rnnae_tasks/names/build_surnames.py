"""Writes ``surnames.tsv`` from the locale data of the `faker` package (MIT licence).

Run as ``python -m rnnae_tasks.names.build_surnames``. Where a locale lists women's and men's forms apart, men's
alone are taken: Kowalski in training would give Kowalska in the test away.
"""

from importlib import import_module
from pathlib import Path

from rnnae_tasks.names.surnames import unambiguous

FAKER_VERSION = "40.54.0"
"""The release that the committed file was made with."""

SOURCES = {
    "Arabic": [("fr_DZ", "last_names")],
    "Azerbaijani": [("az_AZ", "last_names_male"), ("az_AZ", "last_names_unisex")],
    "Chinese": [("zh_CN", "last_romanized_names"), ("zh_TW", "last_romanized_names")],
    "Croatian": [("hr_HR", "last_names")],
    "Dutch": [("nl_NL", "last_names")],
    "English": [("en_GB", "last_names")],
    "Estonian": [("et_EE", "last_names_est")],
    "Finnish": [("fi_FI", "last_names")],
    "French": [("fr_FR", "last_names"), ("fr_CA", "last_names")],
    "German": [("de_DE", "last_names"), ("de_AT", "last_names")],
    "Irish": [("ga_IE", "last_names")],
    "Italian": [("it_IT", "last_names")],
    "Polish": [("pl_PL", "male_last_names"), ("pl_PL", "unisex_last_names")],
    "Portuguese": [("pt_PT", "last_names"), ("pt_BR", "last_names")],
    "Slovak": [("sk_SK", "last_names_male")],
    "Slovene": [("sl_SI", "last_names")],
    "Spanish": [("es_ES", "last_names")],
    "Swedish": [("sv_SE", "last_names")],
    "Twi": [("tw_GH", "last_names_male")],
    "Uzbek": [("uz_UZ", "last_names_male")],
    "Yoruba": [("yo_NG", "last_names_male")],
}
"""The locales of a language, and the attribute of their person provider that lists surnames."""


def surnames() -> str:
    """The text of ``surnames.tsv``: a line ``name<TAB>language`` for every name, sorted."""
    lists = {
        language: [
            name
            for locale, attribute in sources
            for name in getattr(import_module(f"faker.providers.person.{locale}").Provider, attribute)
        ]
        for language, sources in SOURCES.items()
    }
    pairs = sorted((name, language) for language, names in unambiguous(lists).items() for name in names)
    return "".join(f"{name}\t{language}\n" for name, language in pairs)


if __name__ == "__main__":
    Path(__file__).with_name("surnames.tsv").write_text(surnames(), encoding="utf-8")
