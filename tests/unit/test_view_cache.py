"""The cache of views on the disk: what it gives is what decoding gives, whatever became of files and processes."""

import os
import shutil
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import lmdb
import numpy as np
import PIL
import pytest
from PIL import Image

from cache_worker import SETTINGS
from procir.errors import CacheError, ImageError
from procir.model import view_cache
from procir.model.pixels import PixelStore, read_view
from procir.model.view_cache import ViewCache
from procir.types import View

WORKER = Path(__file__).parents[1] / "cache_worker.py"


def noise(seed, size=(80, 60)):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size[::-1], 3), dtype=np.uint8))


def equal(view, other):
    return view.token_grid == other.token_grid and np.array_equal(view.pixels, other.pixels)


@pytest.fixture
def photo(tmp_path):
    """A JPEG of noise, which is reduced in half where that is allowed."""
    path = tmp_path / "dress.jpg"
    noise(0, (160, 140)).save(path)
    return path


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A folder of 200 small photos, each another."""
    folder = tmp_path_factory.mktemp("photos")
    for number in range(200):
        noise(number, (20, 20)).save(folder / f"{number:03}.png", compress_level=0)
    return folder


@pytest.fixture
def decoded(monkeypatch):
    """The names of the files that are decoded, as they are."""
    names = []

    def counted(path, *arguments):
        names.append(path.name)
        return read_view(path, *arguments)

    monkeypatch.setattr(view_cache, "read_view", counted)
    return names


def test_what_is_kept_equals_what_is_decoded(photo, tmp_path, decoded, monkeypatch):
    expected = read_view(photo, SETTINGS)
    with ViewCache(tmp_path / "cache", SETTINGS) as cache:
        assert equal(cache.view(photo), expected)
    monkeypatch.setattr(view_cache, "read_image", lambda path: pytest.fail("opened"))
    with ViewCache(tmp_path / "cache", SETTINGS) as cache:
        view = cache.view(photo)
        cache.ensure(photo)
    assert equal(view, expected)  # though the cache is closed: the view is a copy
    assert view.digest == expected.digest
    assert decoded == ["dress.jpg"]


def test_a_view_that_is_made_sure_of_is_kept(photo, tmp_path, decoded):
    with ViewCache(tmp_path / "new" / "cache", SETTINGS) as cache:
        cache.ensure(photo)
    with ViewCache(tmp_path / "new" / "cache", SETTINGS) as cache:
        assert equal(cache.view(photo), read_view(photo, SETTINGS))
    assert decoded == ["dress.jpg"]


def test_changed_files_are_noticed_and_touched_ones_only_read(photo, tmp_path, decoded):
    with ViewCache(tmp_path / "cache", SETTINGS) as cache:
        cache.view(photo)
    before = photo.stat()
    time.sleep(0.02)  # longer than the clock of the file system takes from tick to tick
    os.utime(photo)
    with ViewCache(tmp_path / "cache", SETTINGS) as cache:
        cache.view(photo)
    assert decoded == ["dress.jpg"]
    content = bytearray(photo.read_bytes())
    content[len(content) // 2] ^= 0x10
    time.sleep(0.02)
    photo.write_bytes(content)
    os.utime(photo, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (photo.stat().st_size, photo.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    with ViewCache(tmp_path / "cache", SETTINGS) as cache:
        assert equal(cache.view(photo), read_view(photo, SETTINGS))
    assert decoded == ["dress.jpg", "dress.jpg"]


def test_copies_are_kept_once(photo, tmp_path, decoded):
    shutil.copy(photo, tmp_path / "copy.jpg")
    with ViewCache(tmp_path / "cache", SETTINGS) as cache:
        cache.view(photo)
    with ViewCache(tmp_path / "cache", SETTINGS) as cache:
        assert equal(cache.view(tmp_path / "copy.jpg"), read_view(photo, SETTINGS))
    assert decoded == ["dress.jpg"]


def test_other_settings_miss(photo, tmp_path, decoded, monkeypatch):
    others = [SETTINGS, replace(SETTINGS, max_pixels=64 * 96), replace(SETTINGS, reduced_jpeg=True)]
    for settings in (*others, *others):
        with ViewCache(tmp_path / "cache", settings) as cache:
            assert equal(cache.view(photo), read_view(photo, settings))
    assert len(decoded) == 3
    monkeypatch.setattr(PIL, "__version__", "1.0")
    with ViewCache(tmp_path / "cache", SETTINGS) as cache:
        cache.view(photo)
    assert len(decoded) == 4


def test_a_store_on_top_in_many_threads(photos, tmp_path, monkeypatch):
    monkeypatch.setattr(view_cache, "_PENDING_BYTES", 50_000)  # four views
    paths = sorted(photos.iterdir())[:40]
    expected = [read_view(path, SETTINGS).digest for path in paths]
    with ViewCache(tmp_path / "cache", SETTINGS) as cache, ThreadPoolExecutor(4) as pool:
        store = PixelStore(SETTINGS, capacity=100_000, threads=4, read=cache.view)
        for views in pool.map(lambda _: store.views([[View(path) for path in paths]])[0], range(8)):
            assert [view.digest for view in views] == expected


def test_closing_waits_for_threads_and_ends_use(photo, tmp_path, monkeypatch):
    begun, may_end = threading.Event(), threading.Event()

    def slow(*arguments):
        begun.set()
        assert may_end.wait(10)
        return read_view(*arguments)

    monkeypatch.setattr(view_cache, "read_view", slow)
    cache = ViewCache(tmp_path / "cache", SETTINGS)
    with ThreadPoolExecutor(2) as pool:
        view = pool.submit(cache.view, photo)
        assert begun.wait(10)
        closing = pool.submit(cache.close)
        time.sleep(0.05)
        assert not closing.done()
        may_end.set()
        assert closing.result(10) is None
        assert equal(view.result(10), read_view(photo, SETTINGS))
    cache.close()
    with pytest.raises(CacheError, match="closed"):
        cache.view(photo)
    with ViewCache(tmp_path / "cache", SETTINGS) as again:
        assert again._environment.stat()["entries"] == 2


def test_a_folder_is_open_once_in_a_process(tmp_path):
    with (
        ViewCache(tmp_path / "cache", SETTINGS),
        pytest.raises(CacheError, match=r"cannot be used .*already open in this process"),
    ):
        ViewCache(tmp_path / "cache", SETTINGS)


def test_broken_files_are_named_and_not_kept(photo, tmp_path):
    belt = tmp_path / "belt.png"
    Image.new("RGB", (3000, 10)).save(belt)
    (tmp_path / "cut.jpg").write_bytes(photo.read_bytes()[:300])
    with ViewCache(tmp_path / "cache", SETTINGS) as cache:
        for _ in range(2):
            for name, said in [
                ("belt.png", "a view of 3000 x 10 px is more than 200 times"),
                ("cut.jpg", "damaged"),
                ("none.jpg", "cannot be read"),
            ]:
                for use in (cache.view, cache.ensure):
                    with pytest.raises(ImageError, match=rf"{name}: .*{said}"):
                        use(tmp_path / name)
        noise(3).save(belt)
        assert equal(cache.view(belt), read_view(belt, SETTINGS))


# Processes


def start(*arguments):
    return subprocess.Popen([sys.executable, str(WORKER), *map(str, arguments)], stdout=subprocess.PIPE, text=True)


def finish(worker):
    printed, _ = worker.communicate(timeout=60)
    return printed


def test_two_processes_fill_one_cache(photos, tmp_path, monkeypatch):
    workers = [start(tmp_path / "cache", photos) for _ in range(2)]
    assert [finish(worker) for worker in workers] == ["begins\n"] * 2
    monkeypatch.setattr(view_cache, "read_image", lambda path: pytest.fail("opened"))
    with ViewCache(tmp_path / "cache", SETTINGS) as cache:
        assert all(equal(cache.view(path), read_view(path, SETTINGS)) for path in photos.iterdir())


def test_a_killed_process_leaves_a_cache_to_go_on_with(photos, tmp_path, decoded):
    data = tmp_path / "cache" / "data.mdb"
    for size in (0, 1, 100_000, 400_000, 800_000):  # a view takes 12 KB
        worker = start(tmp_path / "cache", photos)
        assert worker.stdout.readline() == "begins\n"
        while worker.poll() is None and size and not (data.exists() and data.stat().st_size >= size):
            time.sleep(0.002)
        worker.kill()
        worker.communicate(timeout=60)
    with ViewCache(tmp_path / "cache", SETTINGS) as cache:
        assert all(equal(cache.view(path), read_view(path, SETTINGS)) for path in photos.iterdir())
    first = len(decoded)
    with ViewCache(tmp_path / "cache", SETTINGS) as cache:
        assert all(equal(cache.view(path), read_view(path, SETTINGS)) for path in photos.iterdir())
    assert 0 < len(decoded) == first < 200


def test_a_full_disk_is_an_error_that_names_the_folder(photos, tmp_path):
    printed = finish(start(tmp_path / "cache", photos, 1 << 20))
    assert f"{tmp_path}/cache: the disk of the cache of views is full or fails" in printed
    assert "make room there" in printed
    path = next(photos.iterdir())
    with ViewCache(tmp_path / "cache", SETTINGS) as cache:
        assert equal(cache.view(path), read_view(path, SETTINGS))


def test_no_room_is_an_error_that_names_the_folder(photos, tmp_path, monkeypatch):
    monkeypatch.setattr(view_cache, "_PENDING_BYTES", 1)
    with (
        pytest.raises(CacheError, match=r"cache: the cache of views has no room left; delete the folder"),
        ViewCache(tmp_path / "cache", SETTINGS, room=1 << 20) as cache,
    ):
        for path in photos.iterdir():
            cache.view(path)


# Damage


@pytest.fixture
def filled(photos, tmp_path):
    """A cache of a megabyte, and one of its photos."""
    with ViewCache(tmp_path / "cache", SETTINGS) as cache:
        for path in sorted(photos.iterdir())[:80]:
            cache.ensure(path)
    return tmp_path / "cache", photos / "000.png"


@pytest.mark.parametrize("damage", ["header", "half", "stub", "pixels"])
def test_damaged_caches_are_refused(filled, damage):
    folder, photo = filled
    data = folder / "data.mdb"
    content = bytearray(data.read_bytes())
    if damage == "header":
        content[:8192] = os.urandom(8192)
    elif damage == "half":
        del content[len(content) // 2 :]
    elif damage == "stub":
        del content[100:]
    else:
        at = content.index(read_view(photo, SETTINGS).pixels.tobytes()[:64])
        content[at + 5000] ^= 1
    data.write_bytes(content)
    said = r"cache: the cache of views is damaged .*; delete the folder, it is made anew"
    with pytest.raises(CacheError, match=said), ViewCache(folder, SETTINGS) as cache:
        cache.view(photo)
    shutil.rmtree(folder)
    with ViewCache(folder, SETTINGS) as cache:
        assert equal(cache.view(photo), read_view(photo, SETTINGS))


def test_folders_of_something_else_are_refused(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "dress.jpg").touch()
    with lmdb.open(str(tmp_path / "other")) as environment, environment.begin(write=True) as writing:
        writing.put(b"a", b"b")
    for name in ("photos", "other"):
        with pytest.raises(CacheError, match=rf"{name} holds .*: choose a new or an empty folder"):
            ViewCache(tmp_path / name, SETTINGS)
    assert [path.name for path in (tmp_path / "photos").iterdir()] == ["dress.jpg"]
    (tmp_path / "file").touch()
    with pytest.raises(CacheError, match="file: the cache of views cannot be used"):
        ViewCache(tmp_path / "file", SETTINGS)
