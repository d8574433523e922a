"""The files beside a record: those that it names (samples of the test set, weights, histories), and pictures of it."""

import hashlib

from rnnae_bench.records.record import Attachment, Record

SAMPLES = ".samples.npz"
"""How the names of files of samples end."""

WEIGHTS = ".safetensors"
"""How the names of files of weights end."""

PICTURES = (".png", ".samples.png")
"""How the names of a record's pictures end, after its id: of its training, and of its samples."""


def attachment(identity: str, content: bytes | None, suffix: str) -> Attachment | None:
    """How a record names samples or weights: after both, so that those of another run of the trial lie beside them."""
    if content is None:
        return None
    digest = hashlib.sha256(content).hexdigest()
    return Attachment(file=f"{identity[:8]}{digest[:8]}{suffix}", sha256=digest)


def names_of(record: Record) -> list[str]:
    """The files that a record names."""
    return [one.file for one in (record.samples, record.weights, record.history) if one is not None]
