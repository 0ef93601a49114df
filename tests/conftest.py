"""What several tests need: a real S3 server, and a way to cut the line to it."""

import signal
from dataclasses import dataclass
from functools import cache

import pytest
import torch
from jaxtyping import install_import_hook

from aign.device import choose_device
from aign.errors import UserError
from tests.far_device import FAR
from tests.object_store import KEYS, Line, serve

# Types and shapes in signatures are checked while tests run; an int will do for a float, as PEP 484 has it.
install_import_hook("aign", "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))")

DEVICE = pytest.StashKey[torch.device]()

signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where a shell has started this in the background


def pytest_addoption(parser):
    parser.addoption(
        "--device",
        choices=("auto", "cpu", "cuda", "far"),
        default="cpu",
        help="what tests of the library compute on; far: a pretended device, for tests without a GPU",
    )


def pytest_configure(config):
    asked = config.getoption("--device")
    try:
        config.stash[DEVICE] = FAR if asked == "far" else choose_device(asked)
    except UserError as error:
        raise pytest.UsageError(str(error)) from None
    torch.backends.cudnn.allow_tf32 = False  # convolutions would have ten bits, and tests compare more


def pytest_collection_modifyitems(items):
    """Files that start Ray come first, and those that are long after them: the last files to run are short ones."""
    marked = {mark: {item.path for item in items if item.get_closest_marker(mark)} for mark in ("ray", "long")}
    items.sort(key=lambda item: (item.path not in marked["ray"], item.path not in marked["long"]))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """With ``-n 2`` one process runs all files that start Ray; the other files are shared between both.

    A Ray waits more than it computes, and two of them would want four cores. A file is whole in one process, because
    its fixtures may be dear.
    """
    from xdist.scheduler import LoadScopeScheduling

    @cache
    def scope(file):
        return "ray" if "pytest.mark.ray" in (config.rootpath / file).read_text() else file

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            return scope(nodeid.partition("::")[0])

    config.option.loadscopereorder = False
    return ByFile(config, log)


@pytest.fixture(scope="session")
def device(request):
    """What tests of the library compute on."""
    return request.config.stash[DEVICE]


@pytest.fixture(scope="session", autouse=True)
def own_folders(tmp_path_factory):
    """Nothing that an earlier version of the code has kept is found, and nothing stays with this user."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIGN_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("AIGN_SPOOL", str(tmp_path_factory.mktemp("spool")))
        yield


@dataclass(frozen=True)
class ObjectStore:
    """A running S3 server; the environment names it and its keys."""

    endpoint: str
    bucket: str  # s3://...


@pytest.fixture(scope="session")
def object_store():
    """An S3 server in another process with the bucket aign-test; the AWS_ variables point to it until the tests end.

    It keeps everything in memory and asks for no particular keys. Use a prefix of your own, for example from tmp_path.
    """
    boto3 = pytest.importorskip("boto3")
    pytest.importorskip("moto")
    with serve() as endpoint, pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", endpoint)
        for name, value in KEYS.items():
            patch.setenv(name, value)
        patch.delenv("AWS_PROFILE", raising=False)
        patch.delenv("AWS_SESSION_TOKEN", raising=False)
        boto3.client("s3").create_bucket(Bucket="aign-test")
        yield ObjectStore(endpoint=endpoint, bucket="s3://aign-test")


@pytest.fixture
def line(object_store, monkeypatch):
    """A :class:`Line` to the S3 server; the environment points to it instead of to the server."""
    line = Line(int(object_store.endpoint.rpartition(":")[2]))
    monkeypatch.setenv("AWS_ENDPOINT_URL", line.endpoint)
    yield line
    line.cut()


@pytest.fixture(scope="session")
def ray_local(object_store):
    """A Ray on this machine that all tests share; its processes have the environment that names the object store."""
    import ray

    from aign.training.run_config import RunConfig
    from ray_jobs.launch.signals import StopSignal
    from ray_jobs.launch.start import start_ray
    from ray_jobs.runs.job import Job, Placement

    start_ray(Job(run=RunConfig.of("pose"), placement=Placement(), name="tests"), StopSignal())
    yield
    ray.shutdown()
