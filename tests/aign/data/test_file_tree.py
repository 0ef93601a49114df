"""A folder of files, local or in a store."""

import os

import boto3
import pytest

from aign.data.file_tree import FileTree
from aign.errors import UserError


def test_files_have_paths_in_the_folder_and_stamps_that_change(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "x.txt").write_bytes(b"one")
    (tmp_path / "y.txt").write_bytes(b"two")
    tree = FileTree(f"{tmp_path}/")
    assert list(tree.stamps) == ["a/b/x.txt", "y.txt"]
    assert tree.read("a/b/x.txt") == b"one"
    assert (tree.find("y.txt"), tree.find("x.txt", "z", "a/b"), tree.find("x.txt")) == ("y.txt", "a/b/x.txt", None)
    (tmp_path / "y.txt").write_bytes(b"three")
    assert FileTree(tmp_path).stamps["y.txt"] != tree.stamps["y.txt"]
    assert FileTree(tmp_path).stamps["a/b/x.txt"] == tree.stamps["a/b/x.txt"]


def test_links_to_folders_are_followed_but_not_in_circles(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "x.txt").write_bytes(b"one")
    (tmp_path / "top").mkdir()
    (tmp_path / "top" / "link").symlink_to("../real")
    (tmp_path / "real" / "back").symlink_to("../top")
    assert list(FileTree(tmp_path / "top").stamps) == ["link/x.txt"]


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("{}/none", "no such folder, or nothing in it"),
        ("{}", "no such folder, or nothing in it"),
        ("nonsense://x/y", "Protocol not known: nonsense"),
        ("memory://nobody/here", "no such folder, or nothing in it"),
    ],
)
def test_says_what_cannot_be_read(tmp_path, source, reason):
    source = source.format(tmp_path)
    with pytest.raises(UserError, match=f"^{source}: {reason}"):
        FileTree(source)


def test_a_file_that_has_gone_is_an_error(tmp_path):
    (tmp_path / "x.txt").write_bytes(b"one")
    tree = FileTree(tmp_path)
    (tmp_path / "x.txt").unlink()
    with pytest.raises(UserError, match=r"x\.txt: cannot be read \(No such file or directory\)"):
        tree.read("x.txt")


def test_a_name_that_is_no_text_is_skipped(tmp_path):
    (tmp_path / "a.png").touch()
    os.close(os.open(os.fsencode(tmp_path) + b"/\xff.png", os.O_CREAT))
    tree = FileTree(tmp_path)
    assert list(tree.stamps) == ["a.png"]
    assert len(tree.odd) == 1


def test_a_store_is_read_as_a_folder_is(object_store, tmp_path):
    store = boto3.client("s3")
    prefix = f"{tmp_path.name}/files"
    store.put_object(Bucket="aign-test", Key=f"{prefix}/a/x.txt", Body=b"one")
    store.put_object(Bucket="aign-test", Key=f"{prefix}-other/y.txt", Body=b"two")
    tree = FileTree(f"{object_store.bucket}/{prefix}")
    assert list(tree.stamps) == ["a/x.txt"]
    assert tree.read("a/x.txt") == b"one"
    store.put_object(Bucket="aign-test", Key=f"{prefix}/a/x.txt", Body=b"new")
    assert FileTree(f"{object_store.bucket}/{prefix}").stamps != tree.stamps
    with pytest.raises(UserError, match="no such folder, or nothing in it"):
        FileTree(f"{object_store.bucket}/{prefix}/none")
    with pytest.raises(UserError, match="no-such-bucket"):
        FileTree("s3://no-such-bucket-of-aign/x")


def test_a_store_that_does_not_answer_is_an_error(line, tmp_path):
    line.cut()
    with pytest.raises(UserError, match=f"s3://aign-test/x: the store at {line.endpoint} cannot be reached"):
        FileTree("s3://aign-test/x")
