"""The names task against its file's source, scikit-learn's scores, and the real lists of the tutorial."""

import http.server
import io
import math
import socket
import threading
import zipfile
from pathlib import Path

import faker
import numpy as np
import pytest
import torch
from rnnae_tasks.names import build_surnames, tutorial
from rnnae_tasks.names.datamodule import NamesTask
from rnnae_tasks.names.surnames import ALPHABET, embedded, fold, unambiguous
from rnnae_tasks.names.witten_bell import WittenBell
from scipy.special import log_softmax
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, balanced_accuracy_score, log_loss
from sklearn.pipeline import make_pipeline
from sklearn.utils.class_weight import compute_sample_weight

from rnnae_bench.contracts.card import Protocol
from rnnae_bench.errors import UserError
from rnnae_bench.models.recurrent import GRU


@pytest.fixture(scope="module")
def task() -> NamesTask:
    return NamesTask(protocol=Protocol(batch_size=32))


@pytest.fixture
def names_folder(shared_data: Path) -> Path:
    folder = shared_data / "names"
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent")
    return folder


@pytest.mark.skipif(faker.VERSION != build_surnames.FAKER_VERSION, reason="the file was made with another faker")
def test_the_embedded_file_is_what_its_script_makes():
    path = Path(build_surnames.__file__).with_name("surnames.tsv")
    assert path.read_text(encoding="utf-8") == build_surnames.surnames()


def test_embedded_lists_are_large_folded_and_apart():
    lists = embedded()
    assert len(lists) == 21
    assert set(lists) == set(build_surnames.SOURCES)
    assert min(map(len, lists.values())) >= 90
    everything = [name for names in lists.values() for name in names]
    assert len(everything) == len(set(everything))
    assert set("".join(everything)) == set(ALPHABET)
    assert all(2 <= len(name) <= 20 and name == fold(name) for name in everything)


def test_folding_makes_ascii_of_every_latin_letter_in_use():
    assert fold("Łęcki") == "lecki"
    assert fold("Đurić") == "duric"
    assert fold("Sæþórsson") == "saethorsson"
    assert fold("Þórð") == "thord"
    assert fold("IŞIK") == "isik"
    assert fold("Œuvrard  d’Aulnay ") == "oeuvrard d'aulnay"
    assert fold("Ӏ") != "i"  # Cyrillic palochka: not a Latin letter, so left for the alphabet to refuse


def test_ambiguous_and_malformed_names_are_left_out_everywhere():
    filler = {language: [f"{language}{letter}" for letter in "abcdefghij"] for language in ("one", "two")}
    lists = {
        "one": [*filler["one"], "Shared", "Solo", "x", "a" * 21, "comma, van"],
        "two": [*filler["two"], "shàred"],
        "few": [f"few{letter}" for letter in "abcdefghi"],
    }
    assert unambiguous(lists) == {"one": sorted([*filler["one"], "solo"]), "two": filler["two"]}


def test_parts_are_stratified_and_share_no_string(task):
    parts = {part: dict(task.names(part)) for part in ("train", "validation", "test")}
    strings = [name for names in parts.values() for name in names]
    assert len(strings) == len(set(strings)) == sum(map(len, embedded().values()))
    for language, names in embedded().items():
        for part, share in (("train", 0.7), ("validation", 0.1), ("test", 0.2)):
            assert abs(list(parts[part].values()).count(language) - share * len(names)) <= 1


def test_rows_spell_their_names(task):
    for split in ("validation", "test"):
        inputs, targets, lengths = task.evaluation_set(split)[:3]
        for row, (name, language) in enumerate(task.names(split)):
            length = int(lengths[row])
            assert "".join(ALPHABET[token] for token in inputs[row, :length]) == name
            assert not inputs[row, length:].any()
            assert task.languages[targets[row]] == language


def test_an_epoch_reads_every_training_name_once():
    size = len(NamesTask().names("train"))
    task = NamesTask(protocol=Protocol(batch_size=size))
    inputs, targets, lengths = task.train_batch(1)[:3]
    read = {
        ("".join(ALPHABET[token] for token in row[:length]), task.languages[target])
        for row, target, length in zip(inputs.tolist(), targets.tolist(), lengths.tolist(), strict=True)
    }
    assert read == set(task.names("train"))


def test_training_batches_depend_on_step_and_data_seed_only(task):
    same, other = NamesTask(protocol=task.protocol), NamesTask(protocol=task.protocol, data_seed=1)
    first = task.train_batch(5)
    assert first.inputs.shape == (32, int(first.lengths.max()))
    assert torch.equal(first.inputs, same.train_batch(5).inputs)
    assert not torch.equal(first.targets, task.train_batch(6).targets)
    assert not torch.equal(first.targets, other.train_batch(5).targets)
    for split in ("validation", "test"):
        assert torch.equal(task.evaluation_set(split).inputs, other.evaluation_set(split).inputs)


def test_metrics_are_scikit_learns(task):
    targets = task.evaluation_set("test").targets
    logits = torch.randn(len(targets), 21, generator=torch.Generator().manual_seed(0))
    logits[torch.arange(len(targets)), targets] += 2
    metrics = task.metrics()
    for rows in torch.arange(len(targets)).split(700):
        metrics.update(logits[rows], targets[rows])
    guesses = logits.argmax(1)
    weights = compute_sample_weight("balanced", targets.numpy())
    assert {name: value.item() for name, value in metrics.compute().items()} == pytest.approx(
        {
            "balanced_accuracy": balanced_accuracy_score(targets, guesses),
            "accuracy": accuracy_score(targets, guesses),
            "loss": log_loss(targets, logits.double().softmax(1), sample_weight=weights),
        },
        rel=1e-5,
    )


def test_the_loss_weighs_languages_equally_over_an_epoch():
    task = NamesTask(protocol=Protocol(batch_size=len(NamesTask().names("train"))))
    batch = task.train_batch(0)
    logits = torch.randn(len(batch.targets), 21, generator=torch.Generator().manual_seed(0))
    weights = compute_sample_weight("balanced", batch.targets.numpy())
    expected = log_loss(batch.targets, logits.double().softmax(1), sample_weight=weights)
    assert task.loss(logits, batch).item() == pytest.approx(expected, rel=1e-5)


def test_majority_is_what_an_ignorant_player_scores(task):
    targets = task.evaluation_set("test").targets
    logits = torch.zeros(len(targets), 21)
    logits[:, task.languages.index("Polish")] = 1e-6
    metrics = task.metrics()
    metrics.update(logits, targets)
    floor = task.baseline("majority")
    assert floor == pytest.approx({name: value.item() for name, value in metrics.compute().items()}, rel=1e-5)
    assert floor["balanced_accuracy"] == 1 / 21
    assert floor["loss"] == math.log(21)


def test_witten_bell_is_its_formula_for_each_letter(task):
    """The recursion written out, in double precision, on every hundredth test name."""
    names = [name for name, _ in task.names("test")][::100]

    def probability(language: list[str], context: str, symbol: str) -> float:
        following = [
            name[place + len(context)]
            for name in language
            for place in range(len(name) - len(context))
            if name.startswith(context, place) and place + len(context) > 0
        ]
        shorter = probability(language, context[1:], symbol) if context else 1 / 30
        if not following:
            return shorter
        kinds = len(set(following))
        return (following.count(symbol) + kinds * shorter) / (len(following) + kinds)

    lists = {k: [f"^{name}$" for name in task._names["train"][k]] for k in (3, 15)}
    model = WittenBell([*task._names["train"]], symbols=30)
    for name in names[:6]:
        text = f"^{name}$"
        for k, language in lists.items():
            expected = sum(
                math.log(probability(language, text[max(0, end - 3) : end], text[end])) for end in range(1, len(text))
            )
            assert model.log_probabilities([name])[0, k] == pytest.approx(expected, rel=1e-9)


@pytest.fixture(scope="module")
def twin_scores(task) -> dict[str, dict[str, float]]:
    """What each baseline scores, in double precision: the regression by another solver, and scikit-learn's scores."""
    (names, languages), (tests, truth) = (zip(*task.names(part), strict=True) for part in ("train", "test"))
    features = TfidfVectorizer(analyzer="char_wb", ngram_range=(1, 3), sublinear_tf=True)
    regression = make_pipeline(features, LogisticRegression(C=3.0, class_weight="balanced", max_iter=1000))
    ngram = regression.fit(names, [task.languages.index(one) for one in languages]).predict_log_proba(tests)
    counted = WittenBell(task._names["train"], symbols=30).log_probabilities(tests)
    witten_bell = log_softmax(counted, axis=1)
    targets = np.array([task.languages.index(one) for one in truth])
    answers = {
        "majority": np.eye(21)[[task.languages.index("Polish")]].repeat(len(tests), axis=0) * 1e-9,
        "ngram": ngram,
        "witten_bell": witten_bell,
        "combined": ngram + 0.25 * witten_bell,
    }
    weights = compute_sample_weight("balanced", targets)
    return {
        name: {
            "balanced_accuracy": balanced_accuracy_score(targets, logits.argmax(1)),
            "accuracy": accuracy_score(targets, logits.argmax(1)),
            "loss": log_loss(targets, np.exp(log_softmax(logits, axis=1)), sample_weight=weights),
        }
        for name, logits in answers.items()
    }


METHODS = {
    "majority": "scikit-learn's scores of Polish",
    "ngram": "scikit-learn's regression by L-BFGS",
    "witten_bell": "scikit-learn's scores of the counts",
    "combined": "the sum of the two, by numpy",
}


@pytest.mark.parametrize("variant", NamesTask.card().variants)
def test_the_cards_baselines_are_what_the_data_give(variant, twin_scores, agrees):
    declared = NamesTask.card().variant(variant)
    assert declared.data == {}
    later = {"witten_bell", "combined"} if variant.endswith(".v2") else set()
    assert set(declared.baselines) == {"majority", "ngram", *later}
    for name, baseline in declared.baselines.items():
        for metric in baseline.values:
            # The regression's solver stops at a tolerance, so its last names may fall otherwise.
            within = 0.005 if name in ("ngram", "combined") else 0.0
            agrees(f"names:{variant}", name, metric, twin_scores[name][metric], METHODS[name], within=within)


def test_baselines_are_computed_as_the_card_has_them(task):
    for name, baseline in NamesTask.card().variant("standard.v2").baselines.items():
        assert task.baseline(name) == pytest.approx(baseline.values, rel=1e-5, abs=0.005)


def test_the_regression_gains_from_counted_four_grams(task):
    """Half of their log-probabilities give .734, as the issue that asked for them says; the card takes a quarter."""
    targets = task.evaluation_set("test").targets
    for weight, expected in ((0.5, 0.734), (0.25, task.card().variant("standard.v2").scale.floor)):
        guesses = task.combined_logits(weight=weight).argmax(1)
        assert balanced_accuracy_score(targets, guesses) == pytest.approx(expected, abs=0.0015)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_padding_changes_nothing(task, bidirectional):
    torch.manual_seed(0)
    model = GRU(task.spec, hidden_size=6, layers=2, bidirectional=bidirectional)
    inputs, _, lengths = task.evaluation_set("test").rows(slice(0, 3000, 100))[:3]
    together = model(inputs, lengths)
    alone = torch.cat([model(row[None, :length]) for row, length in zip(inputs, lengths, strict=True)])
    torch.testing.assert_close(together, alone)
    other = inputs.masked_fill(torch.arange(inputs.shape[1]) >= lengths[:, None], 28)
    torch.testing.assert_close(together, model(other, lengths), atol=0, rtol=0)


def test_the_tutorials_files_are_verified_and_cleaned(names_folder):
    task = NamesTask(source="tutorial", folder=str(names_folder))
    assert len(task.languages) == 17
    assert "Scottish" not in task.languages  # all of it but one name is in the English list, too
    strings = [name for part in ("train", "validation", "test") for name, _ in task.names(part)]
    assert len(strings) == len(set(strings))
    assert "smith" not in strings
    assert dict(task.names("train") + task.names("validation") + task.names("test"))["zolotnitsky"] == "Russian"
    assert task.baseline("majority")["balanced_accuracy"] == 1 / 17


def test_digests_see_names_and_nothing_else(names_folder):
    text = (names_folder / "Russian.txt").read_text(encoding="utf-8")
    expected = tutorial.DIGESTS["Russian"]
    assert tutorial.digest(text) == expected
    assert tutorial.digest(text.rstrip("\n").replace("\n", "\r\n") + "\r\nTo The First Page\r\nAbabko") == expected
    assert tutorial.digest(text + "Smith\n") != expected
    assert tutorial.digest(text.replace("Ababko\n", "")) != expected


def test_a_changed_or_missing_file_is_named(names_folder, tmp_path):
    for path in names_folder.glob("*.txt"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "Greek.txt").write_text("Papadopoulos\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"Greek\.txt is not the tutorial's list"):
        NamesTask(source="tutorial", folder=str(tmp_path))
    (tmp_path / "Greek.txt").unlink()
    with pytest.raises(UserError, match=r"cannot read .*Greek\.txt"):
        NamesTask(source="tutorial", folder=str(tmp_path))


@pytest.fixture
def served(request):
    """A loopback server that answers every request with the given bytes: gives its URL."""

    def serve(content: bytes) -> str:
        class Answer(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200)
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()

        def stop():
            server.shutdown()
            thread.join()
            server.server_close()

        request.addfinalizer(stop)
        return f"http://127.0.0.1:{server.server_port}/data.zip"

    return serve


def zipped(folder: Path, **changed: str) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for path in folder.glob("*.txt"):
            archive.writestr(f"data/names/{path.name}", changed.get(path.stem, path.read_text(encoding="utf-8")))
    return content.getvalue()


def test_a_download_fills_the_cache_once(names_folder, tmp_path, served, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    cache = tmp_path / "rnnae-bench" / "names"
    tutorial.download(cache, url=served(zipped(names_folder)))
    assert sorted(path.name for path in cache.iterdir()) == sorted(path.name for path in names_folder.glob("*.txt"))
    monkeypatch.setattr(tutorial, "download", lambda folder: pytest.fail("downloaded again"))
    assert tutorial.tutorial(None) == tutorial.read(names_folder)


def test_an_empty_cache_is_filled_by_a_download(names_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    def fetch(folder):
        folder.mkdir(parents=True)
        for path in names_folder.glob("*.txt"):
            (folder / path.name).write_bytes(path.read_bytes())

    monkeypatch.setattr(tutorial, "download", fetch)
    read = NamesTask(source="tutorial").evaluation_set("test").inputs
    assert torch.equal(read, NamesTask(source="tutorial", folder=str(names_folder)).evaluation_set("test").inputs)


def test_a_bad_download_leaves_nothing_behind(names_folder, tmp_path, served):
    cache = tmp_path / "names"
    with pytest.raises(UserError, match=r"Dutch\.txt of http.* is not the tutorial's list"):
        tutorial.download(cache, url=served(zipped(names_folder, Dutch="Jansen\n")))
    with pytest.raises(UserError, match="is not the tutorial's zip"):
        tutorial.download(cache, url=served(b"<html>moved</html>"))
    empty = io.BytesIO()
    zipfile.ZipFile(empty, "w").close()
    with pytest.raises(UserError, match=r"is not the tutorial's zip .*Arabic\.txt"):
        tutorial.download(cache, url=served(empty.getvalue()))
    assert not cache.exists()


def test_without_a_network_the_error_says_what_to_do(tmp_path):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound but not listening: every connection is refused
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/data.zip"
        with pytest.raises(UserError, match=r"cannot download .*--task\.folder") as caught:
            tutorial.download(tmp_path / "names", url=url)
    assert "\n" not in str(caught.value)


def test_a_folder_for_the_embedded_lists_is_refused():
    with pytest.raises(UserError, match="folder is 'somewhere' with source 'embedded'"):
        NamesTask(folder="somewhere")


def test_an_unknown_baseline_is_refused(task):
    with pytest.raises(UserError, match="majority, ngram, witten_bell, combined"):
        task.baseline("chance")
