"""A variant that was scored is never altered: its setting is frozen here by a hash, and changes need a new variant."""

import hashlib
import json
from dataclasses import asdict
from functools import lru_cache

import pytest

from rnnae_bench.contracts.card import Variant
from rnnae_bench.plugins.registry import tasks

FROZEN = {
    "charlm:long": "685a4ce4fff4ffe8",
    "charlm:smoke": "6a00016101a0b5a4",
    "charlm:standard": "5a5fb33fec5447a3",
    "adding:long": "ccf439869f39b50d",
    "adding:long-1000": "35af36a5754529ea",
    "adding:long-500": "43854f6a2de082d1",
    "adding:signed": "007b22a2e399f684",
    "adding:smoke": "03acc5bca07a78ad",
    "adding:standard": "fd61a438c924bd7f",
    "anomaly:breast-cancer": "8c34368b901c995f",
    "anomaly:breast-cancer-mixed": "6ffe80293ad2e4cd",
    "anomaly:digits-0": "6555448e804da4c3",
    "anomaly:digits-8": "5c7704246894838e",
    "anomaly:long": "19c2c1bb89802cba",
    "anomaly:smoke": "efa0b467db15c879",
    "anomaly:standard": "0cbab5d35f015ab7",
    "copy:long": "4ad5ca7e40dfd96c",
    "copy:long-1000": "9b11323b6cc8540e",
    "copy:long-500": "b0eb124adedfc3c2",
    "copy:smoke": "164735320d44bdfb",
    "copy:standard": "e75e97c6222053d3",
    "counting:anb2n": "9beb07b9bce5250b",
    "counting:anbmcnm": "25df5853bf03054b",
    "counting:anbncn": "e0e5fc241451fcbf",
    "counting:anbncndn": "8d9da85439e4560f",
    "counting:long": "a50b6e9186cf2e02",
    "counting:smoke": "fa0fb3118749bf14",
    "counting:standard": "5cbbae4269798dab",
    "denoise:long": "5c7f9998828fb6a7",
    "denoise:long.v2": "7dadee052d787a6d",
    "denoise:sigma-0.3": "83cd5b19c4b21552",
    "denoise:sigma-0.3.v2": "995a7cf4588a03c7",
    "denoise:smoke": "b405a2634b8b7ba2",
    "denoise:standard": "855e06e64d0a3768",
    "denoise:standard.v2": "b65e2720fdb3b7cd",
    "dynamics:long": "ddf9421e4201d5ac",
    "dynamics:mackey-glass": "7901af6eebc2339d",
    "dynamics:partial": "2586e66b7c7252cb",
    "dynamics:pendulum": "c414a319776c00eb",
    "dynamics:smoke": "bb3a26301d13fa9c",
    "dynamics:standard": "4c26b3166f33332a",
    "flipflop:long": "1a17de4d0f05c4e7",
    "flipflop:smoke": "f4ab4070617c4abf",
    "flipflop:standard": "11e4eb98095ecba2",
    "modular:a5": "04bb111eb22052db",
    "modular:cycle": "c1d0e692c3ab7448",
    "modular:long": "ca48238c57954272",
    "modular:smoke": "01fd3f66c995d54b",
    "modular:standard": "5cbb1451604071d3",
    "mnist1d:long": "179d336d166e8914",
    "mnist1d:smoke": "85714aee17eb702b",
    "mnist1d:standard": "d5975e2c81c38269",
    "names:long": "5e6aad99c7489920",
    "names:long.v2": "ef599e7af91a7e42",
    "names:smoke": "67eb676c07c5661f",
    "names:standard": "3f5cbc3eabff2c88",
    "names:standard.v2": "bd889f9a8b71d207",
    "parity:every-step": "cbda6cc50bfc8e90",
    "parity:long": "a4c3aa3f3704ec8b",
    "parity:smoke": "9b057f165e81cef7",
    "parity:standard": "257815e311133a1b",
    "psmnist:long": "6067d81c43343858",
    "psmnist:pixels": "048003b882a86e7a",
    "psmnist:smoke": "56587ef453227f0d",
    "psmnist:standard": "aeec78519c4acf1a",
    "reconstruct:digits-2": "8f4256814e6f4c39",
    "reconstruct:digits-32": "4836726dda0e7e3e",
    "reconstruct:long": "60806f80353e3550",
    "reconstruct:mnist-32": "c5a2ed9bed702ae0",
    "reconstruct:sine": "d9473f8f3d8a88b3",
    "reconstruct:smoke": "f84540a6560de1be",
    "reconstruct:standard": "c92fe221e4f87332",
    "represent:long": "d3ba10d191bf5520",
    "represent:smoke": "8ca494a39990cb0a",
    "represent:standard": "7566d023f52a0e1d",
    "next_symbol:hello": "4d052b88b55c0c3e",
    "next_symbol:long": "035081c416c97d87",
    "next_symbol:smoke": "945d2c6b29848c04",
    "next_symbol:standard": "51b105891da0463b",
    "recall:long": "b33858a78a3e7d3e",
    "recall:long-128": "f320af254992d833",
    "recall:long-256": "3991048b19a0c324",
    "recall:long-512": "eea07104b2aab2fa",
    "recall:smoke": "2d5571f9b759858f",
    "recall:standard": "658cb151339a3765",
    "selective_copy:long": "3ce813c4bee3cd5d",
    "selective_copy:long-4096": "6b82c3cc92162941",
    "selective_copy:smoke": "7362f09a8c8fa49b",
    "selective_copy:standard": "61d1317164f1cba3",
    "sine:course": "9f665da90bb515cc",
    "sine:course-full-batch": "0d85e0455f9457e8",
    "sine:long": "aa0c60a2c2f6c94d",
    "sine:long.v2": "5f9a14a24bc713ed",
    "sine:smoke": "1e7071783ec06d03",
    "sine:standard": "0906667e8d945633",
    "sine:standard.v2": "d8b1ac33deedcf41",
    "smnist:long": "aa8d504ff4ecba06",
    "smnist:pixels": "1f18c2e3c179d78d",
    "smnist:rows": "488344ebd1fd359e",
    "smnist:smoke": "41ad0521cd57d42c",
    "smnist:standard": "2c343d442edfca65",
    "tagging:long": "127c94fb9ac88d4b",
    "tagging:smoke": "08d279111acf410c",
    "tagging:standard": "50fa2b7adcb797f9",
    "forecast:airline": "57b3ae2a4155697e",
    "forecast:smoke": "76e3d15279a6cbd6",
    "forecast:standard": "f94aebebffb204b4",
    "forecast:sunspots": "19a34855e16b19ee",
    "ucr:arrowhead": "609111e7525b6760",
    "ucr:gunpoint": "28c19a6a79ba3e07",
    "ucr:japanese-vowels": "d245229de1a9eee0",
    "ucr:smoke": "62441aef2e3540b1",
    "ucr:standard": "fecf5a9652a5fd19",
    "temporal_order:long": "84bd93f5e39fa78f",
    "temporal_order:smoke": "d454a6b3c5c93388",
    "temporal_order:standard": "c7c79192c12aa9cb",
    "temporal_order:three": "5ec3c5d44271315e",
    "temporal_order:three-50": "eacc77ecb13cd91b",
    "dates:long": "a27bbbea22ebc72d",
    "dates:smoke": "ac77d57511ef898a",
    "dates:standard": "6f9fd21c948d79da",
    "capacity:long": "c2536ade781d0bf2",
    "capacity:smoke": "6bd3e7007b188bba",
    "capacity:standard": "8028e1972555426b",
    "impute:long": "1586294d6cebda89",
    "impute:smoke": "66e8d7e984430df6",
    "impute:standard": "c61441b13ea0b344",
    "narma:long": "db2a73c5e6df7b7e",
    "narma:smoke": "3cab8bd0703ac09d",
    "narma:standard": "e0ac6a61217bdfd2",
    "reber:continual": "f38e373e0af67aec",
    "reber:long": "6a9b2551d478ff9d",
    "reber:smoke": "3bbb11ec8601e172",
    "reber:standard": "599047fdd1a31ac7",
    "dyck:long": "a6a91fba46b96691",
    "dyck:smoke": "18e02899db2bf322",
    "dyck:source": "691f439d5c270005",
    "dyck:standard": "34657e9787747e99",
}


def digest(variant: Variant) -> str:
    """Hash of all that a score depends on: data, protocol, primary metric, baselines' values."""
    setting = asdict(variant)
    del setting["summary"], setting["superseded_by"], setting["needed_lag"], setting["tuned"]
    if variant.data_version is None:
        del setting["data_version"]
    for baseline in setting["baselines"].values():
        del baseline["source"]
    return hashlib.sha256(json.dumps(setting, sort_keys=True).encode()).hexdigest()[:16]


@lru_cache(maxsize=1)
def variants() -> dict[str, Variant]:
    return {
        f"{name}:{variant.name}": variant
        for name in tasks().names()
        if tasks().get(name).distribution == "rnnae-bench"
        for variant in tasks().get(name).load().card().variants.values()
    }


@pytest.mark.parametrize("label", sorted(variants().keys() | FROZEN.keys()))
def test_variants_stay_as_they_were_scored(label):
    found = digest(variants()[label]) if label in variants() else "gone"
    assert found == FROZEN[label], f"{label} was altered; leave it as it was and add a successor, {label}.v2"
