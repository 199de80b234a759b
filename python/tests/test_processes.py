"""Caches in other processes: pickled, after a fork, after a spawn."""

import copy
import multiprocessing
import pickle
import shutil

import pytest

import logitcache


def sums(cache):
    return [float(image.score.sum()) for image in cache]


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_a_cache_is_read_in_other_processes(built, start, monkeypatch, tmp_path):
    # A relative path must mean the same folder in a process that works elsewhere.
    monkeypatch.chdir(built.parent)
    cache = logitcache.Cache(built.name)
    expected = sums(cache)
    monkeypatch.chdir(tmp_path)
    with multiprocessing.get_context(start).Pool(2) as pool:
        assert pool.map(sums, [cache, cache], chunksize=1) == [expected, expected]
    assert sums(cache) == expected


def test_a_forked_process_uses_the_map_of_its_parent(built):
    cache = logitcache.Cache(built)
    image, expected = cache[0], sums(cache)
    context = multiprocessing.get_context("fork")
    queue = context.Queue()

    def work():
        queue.put((sums(cache), float(image.score.sum())))
        cache.close()

    process = context.Process(target=work)
    process.start()
    assert queue.get(timeout=60) == (expected, expected[0])
    process.join()
    assert process.exitcode == 0 and sums(cache) == expected


def test_another_cache_at_the_same_place_is_refused(built, cache_folder, tmp_path):
    folder = tmp_path / "cache"
    shutil.copytree(built, folder)
    pickled = pickle.dumps(logitcache.Cache(folder))
    assert sums(pickle.loads(pickled)) == sums(copy.deepcopy(logitcache.Cache(folder)))
    shutil.rmtree(folder)
    with pytest.raises(logitcache.Error, match="no such folder"):
        pickle.loads(pickled)
    shutil.copytree(cache_folder, folder)
    if cache_folder != built:
        with pytest.raises(logitcache.Error, match="another cache"):
            pickle.loads(pickled)


def test_errors_travel(built):
    with pytest.raises(logitcache.MissingImage) as caught:
        logitcache.Cache(built)["x.jpg"]
    again = pickle.loads(pickle.dumps(caught.value))
    assert type(again) is logitcache.MissingImage and again.__dict__ == caught.value.__dict__
