"""Caches in an object store, read from Python."""

import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("moto", reason="requirements/object-stores.txt is not installed")
sys.path.append(str(Path(__file__).resolve().parent.parent.parent / "tests" / "python"))

import logitcache
import object_store
from conftest import FIXTURES


def test_a_cache_is_read_from_its_url(tmp_path, monkeypatch):
    folder = FIXTURES / "cache-v1"
    with object_store.running() as store:
        store.upload(folder, "caches/one")
        for name, value in {**store.environment, "LOGITCACHE_CACHE_DIR": str(tmp_path)}.items():
            monkeypatch.setenv(name, value)
        here, there = logitcache.Cache(folder), logitcache.Cache("s3://bucket/caches/one")
        assert len(here) == len(there) > 0
        for ours, theirs in zip(here, there):
            assert ours.path == theirs.path and np.array_equal(ours.score, theirs.score)
        assert logitcache.verify("s3://bucket/caches/one")["problems"] == []
        with pytest.raises(logitcache.Error) as error:
            logitcache.Cache("s3://bucket/caches/two")
        assert "not a cache" in error.value.found
