"""The 18 name lists of the PyTorch tutorial on character-level RNNs: read from a folder, or downloaded.

By Sean Robertson, https://github.com/spro/practical-pytorch, MIT licence; `URL` is the tutorial's own copy.
"""

import hashlib
import io
import os
import zipfile
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from rnnae_bench.data import cache_folder
from rnnae_bench.errors import UserError

URL = "https://download.pytorch.org/tutorial/data.zip"
"""A zip with the lists as ``data/names/<Language>.txt``."""

STRAY_LINE = "To The First Page"
"""A web page's link that got into some copies of the Russian list; not a name."""

DIGESTS = {
    "Arabic": "7e4d9342467c418a111d699bec0ee3b0d8c46e74838c687da827600226d1d5bd",
    "Chinese": "8c3842f6968a18753dc5ba2dafa41357358881e5d62e8bae441eabe6c6d04210",
    "Czech": "dadeb5f5f3b995d87347c91170449fc8cbecc2b9d9414b2d84e60086a515a46d",
    "Dutch": "898a9b0d29cd5733f4d6d95e39a0fd72c8e738c1604ab8671d809728ae09b2e0",
    "English": "52826b9a9a6cc794126e772655b406a67282c5435008f5192da0cdb188cf9c11",
    "French": "66413e8cb400b518049a90a29c4699b4bd6505da74b60fa05550d92f694af63c",
    "German": "21874da4bf0b221032d248628b34a75be8660cf6d5a05e2d67e82ba2bfaa8261",
    "Greek": "512b17a30e6bbdfafe35407c0cf8a1c3b469cd35fcd0cab4e5fc1fba1a60ad85",
    "Irish": "cbbb0397d3bc6d74c2a2f308de63ecee94a7f2fc26713e49497cc5b4371fbe8b",
    "Italian": "3e111de0bfcdd8ec9304980ba745b0a5598153dd701afcc51454acd6b801da84",
    "Japanese": "a2ac5cd76529ac74f29071b0a12b803b4880cb13b6f0564d387cd7a0e30e2f80",
    "Korean": "8bd174504f57bd8332d21b9dbcada75112a71b6d5b079e9de5d2ac468beb3e3a",
    "Polish": "ec7482bd1691a4da8bfcd8a564d14ab266ac27081035eee60d4ef83927031553",
    "Portuguese": "e4d72c330100a7a7eb7508350c152357159f72b33da11f6666ff2b6fbfd4b412",
    "Russian": "f40eb61f6661d3d5d9ab6479b91e548727178283ec992f2632544333ab7a9fb6",
    "Scottish": "92e0e15e4f908c04c200379175b84baab3adf6ecce9fe6ad6980550945881411",
    "Spanish": "c858794c22c1576c45297244e2e0afb324105041c8a578321912c4d3c01b0bd1",
    "Vietnamese": "0fa1f10cd74e8f1c2c3fe0ae5e592a5b2fe667380ac8a0e2bbc7f15db704ade7",
}
"""What `digest` gives for each list."""

TIMEOUT = 30
"""Seconds without an answer after which a download is given up."""


def names_in(text: str) -> list[str]:
    """The distinct names of a list, sorted. One line is one name.

    >>> names_in("Ang\\nAuYong\\n\\nAng\\n")
    ['Ang', 'AuYong']
    """
    return sorted({line.strip() for line in text.splitlines()} - {"", STRAY_LINE})


def digest(text: str) -> str:
    """SHA-256 of a list's distinct names, one a line.

    Copies of the lists in circulation differ in repeated lines, line ends and `STRAY_LINE`. None of these
    changes the data, so none changes the digest.
    """
    return hashlib.sha256("\n".join(names_in(text)).encode()).hexdigest()


def read(folder: Path) -> dict[str, list[str]]:
    """The names of each language, from the 18 files in the folder.

    Raises:
        UserError: a file is missing, can't be read, or is not the tutorial's.
    """
    lists = {}
    for language in DIGESTS:
        path = folder / f"{language}.txt"
        try:
            content = path.read_bytes()
        except OSError as error:
            raise UserError(
                f"cannot read {path}: {error.strerror}; --task.folder must hold the tutorial's {len(DIGESTS)} files"
            ) from error
        lists[language] = names_in(_verified(language, content, str(path)))
    return lists


def download(folder: Path, url: str = URL) -> None:
    """Fetch the tutorial's zip and put its 18 files into the folder, once all of them are verified.

    Raises:
        UserError: there is no network, or what came is not the tutorial's zip.
    """
    try:
        with urlopen(url, timeout=TIMEOUT) as answer:
            archive = zipfile.ZipFile(io.BytesIO(answer.read()))
        contents = {language: archive.read(f"data/names/{language}.txt") for language in DIGESTS}
    except (URLError, OSError) as error:
        raise UserError(
            f"cannot download the name lists from {url} ({getattr(error, 'reason', error)}); "
            "fetch and unpack that file elsewhere and pass its data/names folder as --task.folder"
        ) from error
    except (zipfile.BadZipFile, KeyError) as error:
        raise UserError(
            f"what came from {url} is not the tutorial's zip ({error}); "
            "pass a folder with the tutorial's 18 files as --task.folder"
        ) from error
    for language, content in contents.items():
        _verified(language, content, f"{language}.txt of {url}")
    folder.mkdir(parents=True, exist_ok=True)
    for language, content in contents.items():
        unfinished = folder / f"{language}.txt.{os.getpid()}"
        unfinished.write_bytes(content)
        unfinished.replace(folder / f"{language}.txt")


def tutorial(folder: Path | None) -> dict[str, list[str]]:
    """The names of each language, from the folder; without one, from the cache, filled by `download` if need be.

    The cache is ``names`` in `rnnae_bench.data.cache_folder`.
    """
    if folder is not None:
        return read(folder)
    cache = cache_folder() / "names"
    if not all((cache / f"{language}.txt").is_file() for language in DIGESTS):
        download(cache)
    return read(cache)


def _verified(language: str, content: bytes, where: str) -> str:
    text = content.decode("utf-8", errors="replace")
    found = digest(text)
    if found != DIGESTS[language]:
        raise UserError(
            f"{where} is not the tutorial's list: the SHA-256 of its names begins {found[:12]}, "
            f"not {DIGESTS[language][:12]}; fetch {URL} anew"
        )
    return text
